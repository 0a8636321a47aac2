//! Text that looks like a blog about back ends, fast: the sentences are made once, and a body is a
//! row of copies.

use super::random::SplitMix64;

#[rustfmt::skip]
const SUBJECTS: &[&str] = &[
    "the cache", "a replica", "the connection pool", "a slow query", "the query planner",
    "an index", "the event loop", "a background worker", "the load balancer", "a careless retry",
    "the write-ahead log", "a hot key", "the garbage collector", "a stale entry",
    "the circuit breaker", "an expired lease", "the message queue", "a long transaction",
    "the service mesh", "a cold start", "the primary", "an idle connection", "the scheduler",
    "a full disk", "the page cache", "a noisy neighbour", "the migration", "an unbounded queue",
    "the leader", "a paused process", "the on-call engineer", "a clock step",
];
#[rustfmt::skip]
const VERBS: &[&str] = &[
    "protects", "slows down", "hides", "outlives", "depends on", "competes with", "invalidates",
    "warms up", "blocks", "reveals", "saturates", "simplifies", "waits for", "overtakes",
    "amplifies", "survives", "replaces", "bounds", "explains", "breaks", "absorbs", "delays",
    "doubles", "forgives",
];
#[rustfmt::skip]
const OBJECTS: &[&str] = &[
    "the database", "every request", "the tail latency", "a burst of writes", "the happy path",
    "the replication lag", "the next deploy", "a thundering herd", "the read path",
    "the slowest shard", "a forgotten timeout", "the error budget", "an optimistic update",
    "the whole fleet", "a dropped packet", "the last known value", "the checkout page",
    "an unlucky client", "the working set", "a rolling restart", "the dashboard", "the second copy",
    "an acknowledged write", "the retry storm", "a shared lock", "the memory limit",
    "the monthly report", "an early optimisation", "the nightly job", "a partial failure",
    "the audit log", "the hit ratio",
];
#[rustfmt::skip]
const TAILS: &[&str] = &[
    "under load", "after a deploy", "at three in the morning", "in most benchmarks",
    "on a small machine", "when nobody is looking", "behind a proxy", "across three zones",
    "for a few milliseconds", "during a failover", "in the middle of a sale",
    "on the first request", "once the disk is full", "without any warning",
    "before the first coffee", "in every second incident",
];
#[rustfmt::skip]
const OPENERS: &[&str] = &[
    "In practice", "Surprisingly often", "On paper", "Most of the time", "For small teams",
    "At our scale", "After a week of tracing", "To be fair", "By design", "In the worst case",
    "Once you measure it", "As a rule",
];
#[rustfmt::skip]
const CONSEQUENCES: &[&str] = &[
    "the numbers only make sense as ratios", "a timeout is a decision and not a default",
    "one load per key is plenty", "the average says almost nothing",
    "we moved the check into the transaction", "nobody noticed until the quarter ended",
    "the fix was two lines and a long evening", "it pays to write the invariant down first",
    "a small table beats a clever protocol", "the second run told a different story",
    "readers never saw a version go back", "the rollback was faster than the rollout",
    "we deleted more code than we added", "an honest error is better than an old answer",
    "the queue must have an end", "every wait now has a deadline",
    "the graph finally looked boring", "we stopped trusting wall clocks",
    "a test that cannot fail proves nothing", "the simplest policy won again",
];
#[rustfmt::skip]
const ACTIONS: &[&str] = &[
    "Measuring", "Taming", "Debugging", "Rethinking", "Shipping", "Replacing", "Understanding",
    "Scaling", "Breaking", "Profiling", "Testing", "Simplifying", "Observing", "Migrating",
    "Securing", "Explaining",
];
#[rustfmt::skip]
const FIRST_NAMES: &[&str] = &[
    "Ada", "Alan", "Amina", "Anika", "Barbara", "Ben", "Carlos", "Chen", "Dana", "Diego", "Edsger",
    "Elif", "Emeka", "Farah", "Frances", "Grace", "Hana", "Hedy", "Ines", "Ivan", "Jun",
    "Katherine", "Kofi", "Lars", "Leslie", "Lin", "Margaret", "Mateo", "Mei", "Nadia", "Niklaus",
    "Noor", "Olga", "Omar", "Priya", "Radia", "Rosa", "Sana", "Tomas", "Vint", "Wanda", "Xiao",
    "Yara", "Yusuf", "Zoe", "Zoltan", "Imke", "Søren",
];
#[rustfmt::skip]
const LAST_NAMES: &[&str] = &[
    "Adeyemi", "Almeida", "Bauer", "Becker", "Carvalho", "Chen", "Costa", "Demir", "Diallo",
    "Dubois", "Eriksen", "Fischer", "Garcia", "Gupta", "Haddad", "Hansen", "Hoffmann", "Ito",
    "Ivanova", "Jansen", "Johansson", "Kaya", "Kim", "Kowalski", "Kumar", "Larsen", "Lopez",
    "Martin", "Meyer", "Mensah", "Moreau", "Müller", "Nakamura", "Nguyen", "Novak", "Okafor",
    "Olsen", "Park", "Patel", "Popescu", "Rossi", "Sato", "Schmidt", "Silva", "Sharma", "Tanaka",
    "Virtanen", "Weber", "Yilmaz", "Zhang",
];

/// How many different sentences there are: enough that two bodies are hardly alike, few enough
/// (about 200 kB) to stay in a processor's own cache.
const SENTENCES: u64 = 2_048;

/// The kind of randomness that sentences come from; other kinds belong to the rows.
const SENTENCE: u64 = 0x5e;

/// The stock of sentences.
#[derive(Debug)]
pub(crate) struct Prose {
    text: String,
    ends: Vec<usize>,
}

impl Prose {
    pub(crate) fn new() -> Self {
        let mut prose = Self { text: String::new(), ends: Vec::new() };
        for id in 0..SENTENCES {
            prose.push(&mut SplitMix64::of(SENTENCE, id));
        }
        prose
    }

    fn push(&mut self, random: &mut SplitMix64) {
        let start = self.text.len();
        let subject = random.pick(SUBJECTS);
        let verb = random.pick(VERBS);
        let object = random.pick(OBJECTS);
        let tail = random.pick(TAILS);
        let opener = random.pick(OPENERS);
        let consequence = random.pick(CONSEQUENCES);
        let parts: &[&str] = match random.below(5) {
            0 => &[opener, ", ", subject, " ", verb, " ", object, " ", tail, "."],
            1 => &["When ", subject, " ", verb, " ", object, ", ", consequence, "."],
            2 => &[subject, " ", verb, " ", object, " ", tail, ", which is why ", consequence, "."],
            3 => &["We looked at ", object, " ", tail, " and found that ", consequence, "."],
            _ => &["The lesson about ", object, ": ", consequence, "."],
        };
        for part in parts {
            self.text.push_str(part);
        }
        self.text[start..=start].make_ascii_uppercase();
        self.ends.push(self.text.len());
    }

    /// One of the sentences, with its full stop and without a blank behind it.
    pub(crate) fn sentence(&self, random: &mut SplitMix64) -> &str {
        let count = u32::try_from(self.ends.len()).expect("the stock is small");
        let index = random.below(count) as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    /// Appends sentences, in paragraphs, until there are at least `length` bytes.
    pub(crate) fn write_body(&self, out: &mut Vec<u8>, length: usize, random: &mut SplitMix64) {
        let start = out.len();
        let mut in_paragraph = 0;
        while out.len() - start < length {
            if out.len() > start {
                let full = in_paragraph >= 3 && random.below(3) == 0;
                out.extend_from_slice(if full { b"\n\n" } else { b" " });
                in_paragraph = if full { 0 } else { in_paragraph };
            }
            out.extend_from_slice(self.sentence(random).as_bytes());
            in_paragraph += 1;
        }
    }
}

/// Appends a title: a few words, not unique.
pub(crate) fn write_title(out: &mut Vec<u8>, random: &mut SplitMix64) {
    for part in [
        *random.pick(ACTIONS),
        " ",
        *random.pick(OBJECTS),
        if random.below(2) == 0 { " behind " } else { " and " },
        *random.pick(SUBJECTS),
        " ",
        *random.pick(TAILS),
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends a person's name.
pub(crate) fn write_person(out: &mut Vec<u8>, random: &mut SplitMix64) {
    out.extend_from_slice(random.pick(FIRST_NAMES).as_bytes());
    out.push(b' ');
    out.extend_from_slice(random.pick(LAST_NAMES).as_bytes());
}
