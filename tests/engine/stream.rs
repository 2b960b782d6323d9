//! One content of unknown length, over the pipe in memory.

use std::io::{self, Cursor, Read, Write};
use std::thread;

use transfer::compress::Compression;
use transfer::error::{Exit, Result};
use transfer::event::Summary;
use transfer::protocol::message::OfferKind;
use transfer::receive::files::{Modes, await_offer};
use transfer::send::single::{Input, send_stream};

use super::NO_FAULTS;
use super::pipe::Faults;
use super::util::{STREAM, sessions, walk};

/// Sends what `input` gives to `output`; whatever happens, both sides end. Also the bytes that
/// crossed to the receiver.
fn pour(
    input: impl Read + Send + 'static,
    output: &mut (dyn Write + Send),
    (content, compression): (usize, Compression),
    (there, back): (Faults, Faults),
) -> (Result<Summary>, Result<Summary>, u64) {
    let (sender, receiver, closer) = sessions(content, there, back);
    let ends = thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let mut input = Input::start(input)?;
            send_stream(sender, OfferKind::Stream, &mut input, compression, &mut |_| {})
        });
        let received = await_offer(receiver, None, Modes::default())
            .and_then(|offered| offered.pour(output, false, &mut |_| {}));
        (sending.join().unwrap(), received)
    });
    (ends.0, ends.1, closer.written()[0])
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 % 251) as u8).collect()
}

#[test]
fn streams_arrive_whole_whatever_the_size_of_a_record() {
    for len in [0, 1, 255, 256, 5000, 70_000] {
        for size in [1, 64, 256, 4096, 1 << 20] {
            if len / size > 5000 {
                continue;
            }
            for compression in [Compression::Off, Compression::Auto] {
                let (sent, mut got) = (content(len), Vec::new());
                let input = Cursor::new(sent.clone());
                let (sender, receiver, _) = pour(input, &mut got, (size, compression), NO_FAULTS);
                let case = format!("{len} bytes, records of {size}, {compression:?}");
                let (sender, receiver) = (sender.expect(&case), receiver.expect(&case));
                assert_eq!((sender.exit(), receiver.exit()), (Exit::Done, Exit::Done), "{case}");
                assert_eq!((sender.files, receiver.files), (1, 1), "{case}");
                assert_eq!((sender.bytes, receiver.bytes), (len as u64, len as u64), "{case}");
                assert!(got == sent, "{case}");
            }
        }
    }
}

/// An output that is flushed, as a name is given, only for what is whole.
#[derive(Default)]
struct Output {
    got: Vec<u8>,
    flushed: bool,
    fails: bool,
}

impl Write for Output {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        if self.fails {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.got.extend_from_slice(content);
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed = true;
        Ok(())
    }
}

/// Wherever the line is cut, neither side says that all is well unless it is.
#[test]
fn a_cut_stream_is_no_success() {
    let sent = content(3000);
    let whole =
        pour(Cursor::new(sent.clone()), &mut Vec::new(), (256, Compression::Off), NO_FAULTS);
    // A flipped bit in a length is noticed only when nothing more comes: few of those.
    let cuts = (0..whole.2).step_by(37).map(|at| Faults { cut_at: Some(at), flip_at: None });
    let flips = (0..4).map(|n| whole.2 * n / 4 + 11);
    let flips = flips.map(|at| Faults { cut_at: None, flip_at: Some(at) });
    for there in cuts.chain(flips) {
        {
            let mut output = Output::default();
            let faults = (there, Faults::default());
            let input = Cursor::new(sent.clone());
            let (sender, receiver, _) = pour(input, &mut output, (256, Compression::Off), faults);
            let case = format!("{there:?}");
            if output.flushed {
                assert!(output.got == sent, "{case}");
            } else {
                assert!(receiver.is_err(), "{case}");
                assert!(sender.is_err(), "{case}");
            }
            assert!(sent.starts_with(&output.got), "{case}");
        }
    }
}

#[test]
fn an_output_that_breaks_ends_both() {
    let mut output = Output { fails: true, ..Output::default() };
    let input = Cursor::new(content(100_000));
    let (sender, receiver, _) = pour(input, &mut output, (256, Compression::Off), NO_FAULTS);
    let error = receiver.unwrap_err();
    assert_eq!(error.message, "cannot write what comes in: broken pipe");
    assert_eq!(sender.unwrap_err().message, "the receiver had to stop");
}

#[test]
fn an_input_that_breaks_ends_both() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::PermissionDenied)?;
            Ok(buffer.len())
        }
    }
    let mut output = Output::default();
    let (sender, receiver, _) = pour(Broken(3), &mut output, (256, Compression::Off), NO_FAULTS);
    assert_eq!(sender.unwrap_err().message, "cannot read the input: permission denied");
    assert_eq!(receiver.unwrap_err().message, "the sender had to stop");
    assert!(!output.flushed);
}

/// Standard output takes the only file of an offer, and nothing else.
#[test]
fn a_single_file_can_be_poured() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, content(5000)).unwrap();
    for (path, poured) in [(&file, true), (&dir.path().to_path_buf(), false)] {
        let (source, mut got) = (walk(path), Vec::new());
        let (sender, receiver, _) = sessions(256, Faults::default(), Faults::default());
        thread::scope(|scope| {
            let sending = scope
                .spawn(|| transfer::send::files::send_over(sender, &source, STREAM, &mut |_| {}));
            let received = await_offer(receiver, None, Modes::default())
                .and_then(|offered| offered.pour(&mut got, false, &mut |_| {}));
            let sent = sending.join().unwrap();
            if poured {
                assert_eq!((sent.unwrap().files, received.unwrap().files), (1, 1));
                assert!(got == content(5000));
            } else {
                let message = "standard output takes one file, and 2 entries are offered";
                assert_eq!(received.unwrap_err().message, message);
                assert_eq!(sent.unwrap_err().exit(), Exit::Declined);
                assert!(got.is_empty());
            }
        });
    }
}
