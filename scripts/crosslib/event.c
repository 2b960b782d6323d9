/*
 * event NUMBER PROGRAM ARGUMENTS: starts a program, and at the first byte on standard input tells it of an
 * event of its console: 0 Ctrl-C, 1 Ctrl-Break, 2 the window is closed, 5 logging off, 6 shutting down. It does so
 * as Windows does, by a thread in the program that calls its handlers: wine has no key for most of them.
 * Ends with the program's exit code.
 */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

/* What is behind the first word of a command line. */
static WCHAR *behind_word(WCHAR *at)
{
    int quoted = 0;
    for (; *at && (quoted || *at != ' '); at++) quoted ^= *at == '"';
    while (*at == ' ') at++;
    return at;
}

static int fail(const char *what)
{
    fprintf(stderr, "event: %s: %lu\n", what, GetLastError());
    return 99;
}

int main(int count, char **words)
{
    WCHAR *line = behind_word(behind_word(GetCommandLineW()));
    STARTUPINFOW startup = {.cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES};
    PROCESS_INFORMATION program;
    DWORD code = 99;

    if (count < 3) return fail("event NUMBER PROGRAM ARGUMENTS");
    startup.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    startup.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &program)) return fail("cannot start it");
    if (getchar() != EOF) {
        /* It is at the same place in every program. */
        FARPROC routine = GetProcAddress(GetModuleHandleA("kernelbase"), "CtrlRoutine");
        void *event = (void *)(ULONG_PTR)atoi(words[1]);
        if (!routine) return fail("there is no CtrlRoutine");
        if (!CreateRemoteThread(program.hProcess, NULL, 0, (LPTHREAD_START_ROUTINE)(void *)routine, event, 0, NULL))
            return fail("cannot tell it");
    }
    WaitForSingleObject(program.hProcess, INFINITE);
    GetExitCodeProcess(program.hProcess, &code);
    return (int)code;
}
