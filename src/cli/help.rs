//! What `--help` says below the options; `-h` has a few examples there instead.

/// Below the help of the program.
pub const ALL: &str = "Example:
  laptop$ transfer send photos/ notes.txt
  transfer receive laptop:ocean-tiger

  desktop$ transfer receive laptop:ocean-tiger

Without a command, a path is sent and a ticket is received:
  laptop$ transfer photos
  desktop$ transfer laptop:ocean-tiger

A file that has the name of a command is ./send, and one that looks like a ticket needs
`transfer send` before it.

`transfer COMMAND --help` says more than `-h`, and `man transfer` has all of it once
`transfer completions --install` was run.";

/// Below that of `send`.
pub const SEND: &str = "Examples:
  transfer send photos/ notes.txt      whole folders and single files
  transfer send --exclude-dev project  without node_modules, virtual environments, caches
  transfer send -x '*.log' -x tmp/ .   this folder, without what the patterns name
  transfer send --dry-run project      nothing yet: list what would go
  transfer send --lan photos           to a machine of the local network, without Tailscale
  transfer send --direct photos        to a machine of any other network
  transfer send --to attic photos      to a server that trusts this device, without a ticket
  transfer send --pod --port 4000 out  to another process on this machine
  tar c photos | transfer send --name photos.tar -
  transfer send --text 'see you at 8'

Names: `photos` and `photos/` arrive as the folder photos, and `.` under the name of the folder
you are in. Two paths of one name are refused.

Questions: on a terminal, and without --yes or --json, two are asked below the ticket: whether to
leave out developer folders, if there are any, and whether to compress. Whoever connects before
they are answered waits 5 seconds; what is not answered by then counts as no. `k` keeps the next
answer in ~/.config/transfer/config.toml, and flags answer beforehand.

Keys: p pauses and goes on, q stops.

The way: the tailnet, unless an option or $TRANSFER_WAY (direct, tailnet, lan, pod, ask) says
otherwise. Where there is no tailnet, a terminal is asked whether to send over the internet.

The ticket serves one receiver, and dies at the third wrong token. A receiver that was lost may
come back for as long as --timeout says.

Exit codes: 0 everything is there, 1 another failure, 2 usage, 3 some things could not be sent,
4 wrong token, or not trusted, 5 network, 6 a hash differed, 7 refused, 130 stopped.";

/// Below that of `receive`.
pub const RECEIVE: &str = "Examples:
  transfer receive laptop:ocean-tiger                  into this folder
  transfer receive -o ~/in/ 100.64.1.123:ocean-tiger   into another, the sender by address
  transfer receive maple-river-ocean-tiger             from `send --direct`
  transfer receive -o report.pdf laptop:ocean-tiger    a single file, under another name
  transfer receive -o - laptop:ocean-tiger | less      a single file or a stream, to a pipe
  transfer receive --on-conflict skip laptop:ocean-tiger
  transfer receive --token-file token --wait laptop    nobody types anything: for cron

The ticket is what the sender's screen shows. Upper case and spaces between the words are fine,
quotes are not needed, and a whole pasted line works. Left away, it is asked for, or taken from
$TRANSFER_TICKET or --ticket-file, where other users do not see it.

`-o PLACE` follows cp: a folder that is there, or a name with / at its end, is the folder that
everything goes into. Another name is that of a single file or of a stream; for more than one file
it is a folder, which is made.

`recv` and `get` mean the same as `receive`.

Keys: p pauses and goes on, q stops; the same command goes on from there.

Exit codes: 0 everything is there, 1 another failure, 2 usage, 3 some things could not be written,
4 wrong token, 5 network, 6 a hash differed, 7 refused, 130 stopped.";
