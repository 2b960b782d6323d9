/* What Rust's standard library takes random bytes from, for a wine that has no such library. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T len)
{
    while (len) {
        ULONG piece = len > 0x10000000 ? 0x10000000 : (ULONG)len;
        if (!SystemFunction036(bytes, piece)) return FALSE;
        bytes += piece;
        len -= piece;
    }
    return TRUE;
}
