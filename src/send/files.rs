//! The sending engine: files in, records out. Runs over any stream; prints and asks nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::content::{self, Content, Have, StreamOptions, Tally};
use crate::bounds::{ATTEMPTS, BLOCK, MAX_UNSENT_NAMES};
use crate::control;
use crate::crypto::record::Follows;
use crate::error::Result;
use crate::event::{Event, Fate, Remark, Sink, Stopwatch, Summary};
use crate::files::manifest::{Entry, Manifest};
use crate::files::reader::SourceFault;
use crate::files::walk::Source;
use crate::protocol::fault::Fault;
use crate::protocol::features::Feature;
use crate::protocol::message::{self, Control, Message, Offer, OfferKind, UnsentName};
use crate::protocol::pages::{self, Pages, Range, Step};
use crate::protocol::reader::Malformed;
use crate::protocol::session::{OUT_OF_TURN, Session, Stop};

/// Offers `source` to an authenticated receiver and sends what it asks for.
pub fn send_over(
    mut session: Session,
    source: &Arc<Source>,
    options: StreamOptions,
    sink: Sink<'_>,
) -> Result<Summary> {
    let (tally, mut asked) = (Arc::<Tally>::default(), BTreeSet::new());
    let outcome = converse(&mut session, source, options, (&tally, &mut asked), sink);
    let summary = conclude(session, outcome)?;
    if options.each_file {
        tell_files(source, options, (&tally, &asked), &summary, sink);
    }
    Ok(summary)
}

/// What became of each file. Those that were not asked for are read for their hashes, which nobody
/// waits for any more.
fn tell_files(
    source: &Source,
    options: StreamOptions,
    (tally, asked): (&Tally, &BTreeSet<u32>),
    summary: &Summary,
    sink: Sink<'_>,
) {
    let missing: BTreeMap<_, _> =
        summary.failed.iter().map(|(path, fault)| (path, *fault)).collect();
    for (index, entry) in source.manifest.indexed().filter(|(_, entry)| entry.is_file()) {
        let (hash, fate) = match missing.get(&entry.path) {
            Some(fault) => (None, Fate::Missing(*fault)),
            None if asked.contains(&index) => {
                let kept = tally.hash_of(index);
                // What was sent with holes has not been read as a whole.
                let is_due = kept.is_none() && entry.is_sparse();
                let anew = is_due.then(|| content::hash_of(source, index, options)).flatten();
                (kept.or(anew), Fate::Arrived)
            }
            None if control::check().is_err() => return,
            None => (content::hash_of(source, index, options), Fate::Already),
        };
        sink(Event::File { path: &entry.path, place: None, size: entry.size(), hash, fate });
    }
}

/// Says the last word: that it knows the results, or why it stops.
pub(super) fn conclude(session: Session, outcome: Result<Summary, Stop>) -> Result<Summary> {
    match outcome {
        Ok(summary) => match session.send_last(&Control::Bye) {
            Ok(_) => Ok(summary),
            Err(Stop::Gone(error) | Stop::Own(_, error)) => Err(error),
        },
        Err(stop) => Err(session.stop(stop)),
    }
}

fn converse(
    session: &mut Session,
    source: &Arc<Source>,
    options: StreamOptions,
    (tally, asked): (&Arc<Tally>, &mut BTreeSet<u32>),
    sink: Sink<'_>,
) -> Result<Summary, Stop> {
    let mut watch = Stopwatch::start();
    session.await_ready()?;
    send_offer(session, source)?;
    watch.lap("list");
    let manifest = &source.manifest;
    let bytes_of = |indices: &mut dyn Iterator<Item = u32>| {
        indices.filter_map(|index| manifest.get(index)).map(Entry::size).sum()
    };
    let mut plan = await_plan(session, manifest)?;
    watch.lap("plan");
    let here: u64 = plan.iter().filter_map(|(_, have)| have.map(|have| have.offset())).sum();
    let bytes: u64 = bytes_of(&mut plan.iter().map(|(index, _)| *index));
    let bytes = bytes - here;
    let begun = plan.iter().filter_map(|(index, have)| {
        let offset = (*have)?.offset();
        (offset < manifest.get(*index)?.size()).then_some(offset)
    });
    sink(Event::Planned { files: plan.len() as u64, bytes, here: begun.sum() });
    if options.each_file {
        asked.extend(plan.iter().map(|(index, _)| *index));
    }

    let mut summary = Summary { unsent: source.unsent.len() as u64, ..Summary::default() };
    let unasked = manifest.totals().files - plan.len() as u64;
    let (mut attempt, mut repairs) = (1, Repairs::new());
    loop {
        let mut content = Content::new(session, source, options, tally, sink);
        for (index, ranges) in repairs {
            content.send_blocks(index, &ranges)?;
        }
        for (index, step) in plan {
            content.send_file(index, step)?;
        }
        content.flush()?;
        session.send_control(&Control::Done)?;
        watch.lap("content");
        match await_answer(session, manifest, tally, &mut summary)? {
            None => {
                (summary.bytes, summary.saved, summary.holes) = tally.totals();
                // What was not asked for and is not missing was there before, if the receiver is right
                // about what it has.
                let kept = summary.failed.iter().filter(|(path, fault)| {
                    let entry = manifest.find(path).and_then(|at| manifest.entries().get(at));
                    *fault == Fault::Kept && entry.is_some_and(Entry::is_file)
                });
                summary.already = unasked.saturating_sub(kept.count() as u64).min(summary.files);
                summary.once = attempt == 1;
                for remark in [Remark::Grown, Remark::Deceptive] {
                    let names = tally.names(remark, manifest);
                    if !names.is_empty() {
                        sink(Event::Remark { names: &names, remark });
                    }
                }
                watch.lap("results");
                summary.phases = watch.phases();
                return Ok(summary);
            }
            Some(Again { whole, blocks }) if attempt < ATTEMPTS => {
                attempt += 1;
                let files = (whole.len() + blocks.len()) as u64;
                let block = session.blocks().unwrap_or(BLOCK);
                let bytes =
                    bytes_of(&mut whole.iter().copied()) + bytes_in(&blocks, manifest, block);
                let torn = blocks.len() as u64;
                sink(Event::Again { files, torn, bytes, attempt });
                plan = whole.into_iter().map(|index| (index, None)).collect();
                repairs = blocks;
            }
            Some(_) => return Err(Malformed("more attempts than agreed").into()),
        }
    }
}

/// The ranges of blocks that are to be sent again, by the index of their file, in order.
type Repairs = Vec<(u32, Vec<Range>)>;

/// What is to be sent in another round.
struct Again {
    whole: Vec<u32>,
    blocks: Repairs,
}

fn bytes_in(repairs: &Repairs, manifest: &Manifest, block: u64) -> u64 {
    let ranges = repairs.iter().flat_map(|(index, ranges)| {
        let size = manifest.get(*index).map_or(0, Entry::size);
        ranges.iter().map(move |range| range.bytes(block, size))
    });
    ranges.sum()
}

/// A name for people at the other side, to be escaped there: each byte that is no text as `\xe9`.
fn in_words(name: &[u8]) -> String {
    let mut words = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        words.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| words.push_str(&format!("\\x{byte:02x}")));
    }
    words
}

fn send_offer(session: &mut Session, source: &Source) -> Result<(), Stop> {
    let totals = source.manifest.totals();
    let unsent_names = source.unsent.iter().take(MAX_UNSENT_NAMES).map(|unsent| UnsentName {
        name: in_words(&unsent.name).chars().take(200).collect(),
        why: unsent.why.clone(),
    });
    session.send_control(&Control::Offer(Offer {
        kind: OfferKind::Files,
        files: totals.files,
        folders: totals.folders,
        links: totals.links,
        bytes: totals.bytes,
        unsent: source.unsent.len() as u64,
        unsent_names: unsent_names.collect(),
        name: None,
        features: session.ours().names(),
        run: session.run(),
    }))?;
    let takes_sparse = session.agreed().has(Feature::Sparse);
    session.send_pages(message::ENTRIES, source.manifest.entries(), |buffer, entry| {
        match takes_sparse {
            true => pages::put_entry(buffer, entry),
            false => pages::put_entry(buffer, &entry.without_holes()),
        }
    })
}

/// The files to send, in order, each with what the receiver has of it.
fn await_plan(
    session: &mut Session,
    manifest: &Manifest,
) -> Result<Vec<(u32, Option<Have>)>, Stop> {
    let agreed = session.agreed();
    let mut wanted = Vec::new();
    let block = session.blocks();
    // The first entry of which the plan has said nothing yet.
    let mut next = 0u32;
    let files_until = |wanted: &mut Vec<_>, from: u32, to: u32| {
        let range = (from..to).filter(|index| is_file(manifest, *index));
        wanted.extend(range.map(|index| (index, None)));
    };
    while session.receive(|message, follows| match (message, follows) {
        (Message::Plan(page), Follows::More) => Ok(pages::plan(page, agreed, |index, step| {
            if index < next || !is_file(manifest, index) {
                return Err(Malformed("the plan names what was not offered"));
            }
            files_until(&mut wanted, next, index);
            let have = match step {
                Step::Skip => None,
                Step::Resume { offset, hash } => Some(Have::Prefix((offset, hash))),
                Step::GoOn { blocks, state } => {
                    let block = block.ok_or(OUT_OF_TURN)?;
                    let holes = agreed.has(Feature::Sparse);
                    if manifest.get(index).is_some_and(|entry| holes && entry.is_sparse()) {
                        return Err(Malformed("the plan goes on in a file with holes"));
                    }
                    if blocks == 0 {
                        return Err(Malformed("the plan goes on behind nothing"));
                    }
                    Some(Have::Blocks(blocks, block, state))
                }
            };
            if let Some(have) = have {
                if manifest.get(index).is_none_or(|entry| have.offset() > entry.size()) {
                    return Err(Malformed("the plan resumes behind the end of a file"));
                }
                wanted.push((index, Some(have)));
            }
            next = index + 1;
            Ok(())
        })?),
        _ => Err(OUT_OF_TURN.into()),
    })? == Pages::More
    {}
    let end = u32::try_from(manifest.entries().len()).unwrap_or(u32::MAX);
    files_until(&mut wanted, next, end);
    Ok(wanted)
}

fn is_file(manifest: &Manifest, index: u32) -> bool {
    manifest.get(index).is_some_and(Entry::is_file)
}

/// After `Done`: what to send again, or nothing when the receiver has told its results.
fn await_answer(
    session: &mut Session,
    manifest: &Manifest,
    tally: &Tally,
    summary: &mut Summary,
) -> Result<Option<Again>, Stop> {
    enum Answer {
        Repairs(Pages),
        Pages(Pages),
        Complete(u64, u64),
    }
    let block = session.blocks();
    let mut blocks = Repairs::new();
    let mut repaired: Option<Pages> = None;
    let mut again: Vec<u32> = Vec::new();
    let mut faults: Option<Pages> = None;
    let mut last_result = None;
    loop {
        let answer = session.receive(|message, follows| match (message, follows) {
            (Message::Repair(page), Follows::More)
                if faults.is_none() && again.is_empty() && repaired != Some(Pages::End) =>
            {
                let block = block.ok_or(OUT_OF_TURN)?;
                let pages = pages::repairs(page, |index, range| {
                    ask_again(&mut blocks, index, range, |range| {
                        let size = manifest.get(index)?.size();
                        tally.blocks.get(index)?;
                        (range.end() <= size.div_ceil(block)).then_some(())
                    })
                })?;
                Ok(Answer::Repairs(pages))
            }
            (Message::Retry(page), Follows::More)
                if faults.is_none() && repaired != Some(Pages::More) =>
            {
                let pages = pages::indices(page, |index| {
                    let in_order = again.last().is_none_or(|last| *last < index);
                    let in_blocks = blocks.binary_search_by_key(&index, |(at, _)| *at).is_ok();
                    if !in_order || in_blocks || !is_file(manifest, index) {
                        return Err(Malformed("a retry names what was not offered"));
                    }
                    again.push(index);
                    Ok(())
                })?;
                Ok(Answer::Pages(pages))
            }
            (Message::Results(page), Follows::More)
                if again.is_empty() && repaired.is_none() && faults != Some(Pages::End) =>
            {
                faults = Some(pages::results(page, |index, fault| {
                    let in_order = last_result.is_none_or(|last| last < index);
                    let entry = manifest.get(index).filter(|_| in_order);
                    let entry = entry.ok_or(Malformed("a result names what was not offered"))?;
                    if !entry.is_file() && fault.is_of_content() {
                        return Err(Malformed("a result that no folder or link can have"));
                    }
                    last_result = Some(index);
                    summary.failed.push((entry.path.clone(), fault));
                    Ok(())
                })?);
                Ok(Answer::Pages(Pages::More))
            }
            (Message::Control(Control::Complete(complete)), Follows::Nothing)
                if faults == Some(Pages::End) =>
            {
                Ok(Answer::Complete(complete.files, complete.failed))
            }
            _ => Err(OUT_OF_TURN.into()),
        })?;
        match answer {
            Answer::Repairs(Pages::End) if blocks.is_empty() => {
                return Err(Malformed("a repair of nothing").into());
            }
            Answer::Repairs(pages) => repaired = Some(pages),
            Answer::Pages(Pages::More) => {}
            Answer::Pages(Pages::End) if again.is_empty() && blocks.is_empty() => {
                return Err(Malformed("a retry of nothing").into());
            }
            Answer::Pages(Pages::End) => return Ok(Some(Again { whole: again, blocks })),
            Answer::Complete(files, failed) => {
                let listed = summary.failed.len() as u64;
                if failed != listed || files > manifest.totals().files {
                    return Err(Malformed("the results do not add up").into());
                }
                summary.files = files;
                return Ok(None);
            }
        }
    }
}

/// Takes note of a range that is to be sent again, if it comes behind those before and `can_be`.
fn ask_again(
    blocks: &mut Repairs,
    index: u32,
    range: Range,
    can_be: impl FnOnce(&Range) -> Option<()>,
) -> Result<(), Malformed> {
    let last = blocks.last().and_then(|(at, ranges)| Some((*at, ranges.last()?.end())));
    let in_order = match last {
        Some((at, end)) if at == index => end <= range.first.into(),
        Some((at, _)) => at < index,
        None => true,
    };
    if !in_order || range.count == 0 || can_be(&range).is_none() {
        return Err(Malformed("a repair names what was not sent"));
    }
    match blocks.last_mut() {
        Some((at, ranges)) if *at == index => ranges.push(range),
        _ => blocks.push((index, vec![range])),
    }
    Ok(())
}

impl From<SourceFault> for Fault {
    fn from(fault: SourceFault) -> Self {
        match fault {
            SourceFault::Vanished => Self::Vanished,
            SourceFault::Denied => Self::Denied,
            SourceFault::Changed => Self::Changed,
            // The other side need not know more; on this one there is a remark.
            SourceFault::Unreadable | SourceFault::Deceptive => Self::Unreadable,
        }
    }
}
