//! Questions that come through rings.
//!
//! The kernel puts a question into the queue of the processor that asked. A thread that is bound to that
//! processor answers it, so that nobody is woken on another one, which is what a question costs most.
//!
//! Always true: every processor that the kernel may ever use has a queue with room for a question; a thread
//! holds one question at a time, so that the next one goes to a thread that is free. What nobody waits for
//! (FORGET) and what is told unasked go through the device all the same.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use rustix::thread::CpuSet;

use super::adapter::{Answers, Outcome};
use super::kernel::{RING_COMMIT_AT, RING_HEAD_AT, RING_LENGTH_AT, Ring};
use super::protocol::ANSWER_BYTES;
use super::protocol::answer::header;
use super::protocol::question::{Header, head_bytes};
use super::{Crew, Work};

/// Processors that the kernel may ever use, and those that it uses now.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";
const ONLINE: &str = "/sys/devices/system/cpu/online";
/// Says whether the kernel gives questions into rings at all.
const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

/// Threads that have a ring each and wait for the word to use it.
#[derive(Debug)]
pub(super) struct Prepared {
    go: Vec<Sender<Arc<dyn Answers>>>,
    said: Receiver<io::Result<()>>,
}

/// Makes the threads: `per_core` for each processor in use, and one for all that are not. Nothing reaches
/// the kernel's side of the mount before [`Prepared::start`].
pub(super) fn prepare(session: &Arc<OwnedFd>, per_core: usize, crew: &mut Crew) -> io::Result<Prepared> {
    let (possible, online) = (cores(POSSIBLE)?, cores(ONLINE)?);
    let (used, unused): (Vec<u16>, Vec<u16>) = possible.into_iter().partition(|core| online.contains(core));
    let alone = used.iter().flat_map(|&core| std::iter::repeat_n((Some(core), vec![core]), per_core.max(1)));
    let rest = (!unused.is_empty()).then_some((None, unused));
    let (tell, said) = mpsc::channel();
    let mut go = Vec::new();
    for (number, (core, queues)) in alone.chain(rest).enumerate() {
        let (tell, session) = (tell.clone(), Arc::clone(session));
        let (start, wait) = mpsc::channel();
        crew.spawn(&format!("fuse-ring-{number}"), move || work(session, core, &queues, &tell, &wait))?;
        go.push(start);
    }
    let prepared = Prepared { go, said };
    prepared.hear()?;
    Ok(prepared)
}

impl Prepared {
    /// How many threads there are.
    pub(super) fn threads(&self) -> usize {
        self.go.len()
    }

    /// Lets the kernel use the rings. To be called when it has agreed to.
    pub(super) fn start(self, answers: &Arc<dyn Answers>) -> io::Result<()> {
        // A thread that is gone has said why.
        self.go.iter().for_each(|go| drop(go.send(Arc::clone(answers))));
        self.hear()
    }

    /// Hears once from every thread.
    fn hear(&self) -> io::Result<()> {
        let gone = |_| io::Error::other("a thread for a ring has ended early");
        (0..self.go.len()).try_for_each(|_| self.said.recv().map_err(gone)?)
    }
}

/// Why there are no rings although one would like them.
pub(super) fn why_not() -> String {
    match fs::read_to_string(SWITCH) {
        Ok(text) if text.trim() == "N" => format!("{SWITCH} is N"),
        _ => "this kernel does not offer io_uring".to_owned(),
    }
}

/// The life of a thread: makes its ring, waits for the word, and answers until the mount is gone.
fn work(
    session: Arc<OwnedFd>,
    core: Option<u16>,
    queues: &[u16],
    tell: &Sender<io::Result<()>>,
    wait: &Receiver<Arc<dyn Answers>>,
) -> Work {
    if let Some(core) = core {
        // Where that is not permitted, answers come all the same, only later.
        let _ = bind(core);
    }
    let mut ring = match Ring::new(session, queues, ANSWER_BYTES) {
        Ok(ring) => ring,
        Err(error) => {
            let _ = tell.send(Err(error));
            return Ok(());
        }
    };
    let _ = tell.send(Ok(()));
    // Called off when nobody can say the word any more.
    let Ok(answers) = wait.recv() else { return Ok(()) };
    let registered = ring.register();
    let is_registered = registered.is_ok();
    let _ = tell.send(registered);
    if is_registered { serve(&mut ring, &*answers) } else { Ok(()) }
}

fn serve(ring: &mut Ring, answers: &dyn Answers) -> Work {
    let mut body = Vec::new();
    while let Some(slot) = ring.next()? {
        let Some((headers, room)) = ring.memory(slot) else { continue };
        let number = u64::from_ne_bytes(part(headers, RING_COMMIT_AT));
        let length = u32::from_ne_bytes(part(headers, RING_LENGTH_AT)) as usize;
        // The answer is written where this stands.
        body.clear();
        body.extend_from_slice(room.get(..length).unwrap_or_default());
        let (unique, outcome) = match Header::parse(headers) {
            Some(asked) => {
                let head = &headers[RING_HEAD_AT..RING_HEAD_AT + head_bytes(asked.opcode)];
                (asked.unique, answers.answer(asked, head, &body, room))
            }
            None => (number, Outcome::Refused(rustix::io::Errno::IO)),
        };
        let answer = match outcome {
            Outcome::Answered(length) => Ok(length),
            Outcome::Refused(errno) => Err(errno),
            Outcome::Silent => Ok(0),
        };
        let first = header(unique, answer);
        headers[..first.len()].copy_from_slice(&first);
        let length = u32::try_from(answer.unwrap_or(0)).unwrap_or(0).to_ne_bytes();
        headers[RING_LENGTH_AT..RING_LENGTH_AT + length.len()].copy_from_slice(&length);
        ring.commit(slot, number)?;
    }
    Ok(())
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Binds this thread to a processor.
fn bind(core: u16) -> io::Result<()> {
    let core = usize::from(core);
    let mut set = CpuSet::new();
    if core < CpuSet::MAX_CPU {
        set.set(core);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

fn cores(path: &str) -> io::Result<Vec<u16>> {
    let failed = |text: &str| io::Error::other(format!("{path}: {text}"));
    let text = fs::read_to_string(path).map_err(|error| failed(&error.to_string()))?;
    list(text.trim()).ok_or_else(|| failed("is no list of processors"))
}

/// Reads a list of numbers and ranges, as in `0-3,8`.
fn list(text: &str) -> Option<Vec<u16>> {
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<u16>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(list("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!((list("0"), list("")), (Some(vec![0]), Some(vec![])));
        assert_eq!((list("0-"), list("a"), list("1-99999")), (None, None, None));
        assert!(!cores(POSSIBLE).unwrap().is_empty());
    }
}
