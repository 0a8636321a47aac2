//! What the blog consists of: a function from ids to rows.
//!
//! Nothing here depends on how many posts there are, so post 17 is the same in a small blog and in a
//! large one, and every chunk can be made without the ones before it.

use crate::seed::copy::CopyBuffer;
use crate::seed::prose::{self, Prose};
use crate::seed::random::{SplitMix64, Zipf};

/// Changes whenever other rows come out: data of another generator is not completed but replaced.
pub(crate) const GENERATOR: i32 = 1;

/// How many authors there are, whatever the number of posts.
pub(crate) const AUTHORS: u32 = 5_000;

/// Each run of this many posts has exactly [`COMMENTS_PER_BLOCK`] comments, so the first comment id of
/// a block is known without counting.
const POSTS_PER_BLOCK: u32 = 1_000;
const COMMENTS_PER_BLOCK: u32 = 4_000;

/// Most tags of one post.
const MOST_TAGS: usize = 5;

/// 2020-01-01T00:00:00Z, in microseconds since 2000-01-01, as PostgreSQL counts.
const EPOCH: u64 = 631_152_000 * SECOND;
const SECOND: u64 = 1_000_000;
/// From one post to the next: five million, the most there can be, end before 2025.
const BETWEEN_POSTS: u64 = 30 * SECOND;

/// Kinds of randomness, one per use, so that a change in one place moves nothing elsewhere.
const AUTHOR: u64 = 1;
const POST: u64 = 2;
const COMMENT: u64 = 3;
const BLOCK: u64 = 4;

pub(crate) const AUTHOR_COLUMNS: &str = "id, name, display_name, bio, joined_at";
pub(crate) const POST_COLUMNS: &str =
    "id, author_id, title, body, tags, views, comment_count, version, created_at, updated_at";
pub(crate) const POST_TAG_COLUMNS: &str = "tag, post_id";
pub(crate) const COMMENT_COLUMNS: &str = "id, post_id, author, body, created_at";

/// The tags by popularity, the most popular first.
#[rustfmt::skip]
const TAGS: [&str; 200] = [
    "rust", "postgres", "redis", "caching", "performance", "kubernetes", "distributed-systems",
    "testing", "linux", "sql", "observability", "security", "networking", "concurrency", "async",
    "docker", "go", "python", "architecture", "api-design", "databases", "monitoring", "devops",
    "cloud", "reliability", "latency", "http", "grpc", "typescript", "java", "microservices",
    "queues", "kafka", "prometheus", "grafana", "tracing", "logging", "benchmarking", "profiling",
    "indexing", "transactions", "locking", "consistency", "replication", "sharding", "partitioning",
    "backups", "migrations", "schema-design", "orm", "connection-pools", "load-balancing",
    "proxies", "dns", "tls", "tcp", "quic", "websockets", "rest", "graphql", "openapi", "json",
    "protobuf", "serialization", "compression", "encryption", "authentication", "authorization",
    "oauth", "secrets", "terraform", "helm", "tilt", "gitops", "ci", "cd", "feature-flags",
    "canary", "rollbacks", "incidents", "postmortems", "on-call", "slo", "error-budgets",
    "alerting", "dashboards", "capacity", "autoscaling", "scheduling", "containers", "cgroups",
    "ebpf", "kernel", "filesystems", "storage", "nvme", "memory", "allocators",
    "garbage-collection", "simd", "data-structures", "algorithms", "hashing", "bloom-filters",
    "b-trees", "lsm-trees", "write-ahead-log", "crdt", "raft", "paxos", "consensus", "clocks",
    "leases", "fencing", "idempotency", "retries", "timeouts", "backoff", "circuit-breakers",
    "rate-limiting", "backpressure", "streaming", "batching", "etl", "analytics", "olap",
    "columnar", "parquet", "search", "full-text", "vector-search", "geospatial", "time-series",
    "graph", "documents", "key-value", "pubsub", "events", "event-sourcing", "cqrs", "sagas",
    "outbox", "workflows", "cron", "workers", "serverless", "edge", "cdn", "browsers", "frontend",
    "react", "css", "accessibility", "wasm", "c", "cpp", "zig", "elixir", "erlang", "haskell",
    "scala", "kotlin", "swift", "ruby", "php", "dotnet", "nodejs", "deno", "bash", "vim", "emacs",
    "git", "code-review", "refactoring", "documentation", "style", "types", "macros", "generics",
    "traits", "error-handling", "property-testing", "fuzzing", "model-checking", "formal-methods",
    "chaos", "simulation", "statistics", "machine-learning", "llm", "careers", "hiring", "teams",
    "remote-work", "writing", "talks", "books", "history", "hardware", "ergonomics",
];

/// How many comments and post_tags a range of posts came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) posts: u64,
    pub(crate) post_tags: u64,
    pub(crate) comments: u64,
}

/// Everything that is made once and read by all streams.
#[derive(Debug)]
pub(crate) struct Content {
    prose: Prose,
    authors: Zipf,
    tags: Zipf,
    /// Comments of a post by its rank within its block.
    comments_by_rank: Vec<u32>,
}

impl Content {
    pub(crate) fn new() -> Self {
        Self {
            prose: Prose::new(),
            // The busiest author has 0.4 % of the posts: about 2,000 of 500,000.
            authors: Zipf::new(AUTHORS, 49),
            // The most popular tag is on a fifth of the posts.
            tags: Zipf::new(200, 2),
            comments_by_rank: comments_by_rank(),
        }
    }

    /// The row of an author.
    pub(crate) fn write_author(&self, out: &mut CopyBuffer, id: u32) {
        let random = &mut SplitMix64::of(AUTHOR, u64::from(id));
        out.row(5);
        out.bigint(u64::from(id));
        out.text_from(|text| write_author_name(text, id));
        out.text_from(|text| prose::write_person(text, random));
        out.text_from(|text| self.prose.write_body(text, 100, random));
        out.bigint(EPOCH - u64::from(random.below(365 * 86_400)) * SECOND);
    }

    /// The row of a post. The caller writes the rows of [`Self::write_post_tags`] and
    /// [`Self::write_comments`] too, which it counts.
    pub(crate) fn write_post(&self, out: &mut CopyBuffer, id: u64) {
        let post = self.post(id);
        let mut random = post.random;
        out.row(10);
        out.bigint(id);
        out.bigint(post.author);
        out.text_from(|text| prose::write_title(text, &mut random));
        let length = 900 + random.below(500) as usize;
        out.text_from(|text| self.prose.write_body(text, length, &mut random));
        out.text_array(&post.tags[..post.tag_count]);
        out.bigint(post.views);
        out.int(self.comment_count(id));
        out.bigint(1);
        out.bigint(post.created_at);
        out.bigint(post.created_at);
    }

    /// The `post_tags` rows of a post; returns how many.
    pub(crate) fn write_post_tags(&self, out: &mut CopyBuffer, id: u64) -> u64 {
        let post = self.post(id);
        for tag in &post.tags[..post.tag_count] {
            out.row(2);
            out.text(tag);
            out.bigint(id);
        }
        post.tag_count as u64
    }

    /// The comments of a post, the first of which gets `first_id`; returns how many.
    pub(crate) fn write_comments(&self, out: &mut CopyBuffer, id: u64, first_id: u64) -> u64 {
        let created_at = created_at(id);
        let count = u64::from(self.comment_count(id));
        for comment in first_id..first_id + count {
            let random = &mut SplitMix64::of(COMMENT, comment);
            let author = author_at(&self.authors, random);
            out.row(5);
            out.bigint(comment);
            out.bigint(id);
            out.text_from(|text| write_author_name(text, author));
            let length = 20 + random.below(100) as usize;
            out.text_from(|text| self.prose.write_body(text, length, random));
            out.bigint(created_at + u64::from(random.below(90 * 86_400)) * SECOND);
        }
        count
    }

    /// How many comments the posts before `id` have together.
    pub(crate) fn comments_before(&self, id: u64) -> u64 {
        let block = (id - 1) / u64::from(POSTS_PER_BLOCK);
        let first = block * u64::from(POSTS_PER_BLOCK) + 1;
        let within: u64 = (first..id).map(|post| u64::from(self.comment_count(post))).sum();
        block * u64::from(COMMENTS_PER_BLOCK) + within
    }

    /// What `posts` posts come to.
    pub(crate) fn totals(&self, posts: u64) -> Counts {
        Counts {
            posts,
            post_tags: (1..=posts).map(|id| self.post(id).tag_count as u64).sum(),
            comments: self.comments_before(posts + 1),
        }
    }

    fn comment_count(&self, id: u64) -> u32 {
        let per_block = u64::from(POSTS_PER_BLOCK);
        let random = &mut SplitMix64::of(BLOCK, (id - 1) / per_block);
        // A multiplier without a factor in common with 1,000 makes this a permutation of the block.
        let step = u64::from(*random.pick(&[7_u32, 113, 259, 367, 421, 579, 683, 829, 937, 971]));
        let shift = u64::from(random.below(POSTS_PER_BLOCK));
        let rank = ((id - 1) % per_block * step + shift) % per_block;
        let rank = usize::try_from(rank).expect("a rank is below 1,000");
        self.comments_by_rank[rank]
    }

    /// The numbers of a post; the texts follow from the rest of its randomness.
    fn post(&self, id: u64) -> Post {
        let mut random = SplitMix64::of(POST, id);
        let author = u64::from(author_at(&self.authors, &mut random));
        let tag_count = [1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5][random.below(20) as usize];
        let mut tags = [""; MOST_TAGS];
        let mut found = 0;
        while found < tag_count {
            let tag = TAGS[self.tags.draw(&mut random)];
            if !tags[..found].contains(&tag) {
                tags[found] = tag;
                found += 1;
            }
        }
        // 20 / u for u uniform in (0, 1]: the post of popularity rank r has about 1/r of the first's views.
        let views = (20 << 32) / ((random.next() >> 32) + 1);
        Post { author, tags, tag_count, views, created_at: created_at(id), random }
    }
}

struct Post {
    author: u64,
    tags: [&'static str; MOST_TAGS],
    tag_count: usize,
    views: u64,
    created_at: u64,
    random: SplitMix64,
}

fn created_at(id: u64) -> u64 {
    EPOCH + id * BETWEEN_POSTS
}

fn author_at(authors: &Zipf, random: &mut SplitMix64) -> u32 {
    u32::try_from(authors.draw(random) + 1).expect("there are 5,000 authors")
}

fn write_author_name(out: &mut Vec<u8>, id: u32) {
    out.extend_from_slice(b"author-");
    for power in [1_000, 100, 10, 1] {
        out.push(b"0123456789"[(id / power % 10) as usize]);
    }
}

/// Zipf-like with a flat start (the first of 1,000 posts has about 90 comments, a tenth has none), and
/// with exactly the sum that the ids of comments rely on.
fn comments_by_rank() -> Vec<u32> {
    let by_rank = |scale: u32| (1..=POSTS_PER_BLOCK).map(move |rank| scale / (rank + 9));
    let scale = (1..)
        .take_while(|&scale| by_rank(scale).sum::<u32>() <= COMMENTS_PER_BLOCK)
        .last()
        .expect("a scale of 1 gives no comments at all");
    let mut counts: Vec<u32> = by_rank(scale).collect();
    let missing = COMMENTS_PER_BLOCK - counts.iter().sum::<u32>();
    for count in counts.iter_mut().rev().take(missing as usize) {
        *count += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn a_block_has_its_exact_number_of_comments_wherever_it_lies() {
        let content = Content::new();
        for block in [0_u64, 1, 499, 4_999] {
            let first = block * 1_000 + 1;
            let counts: Vec<u32> = (first..first + 1_000).map(|id| content.comment_count(id)).collect();
            assert_eq!(counts.iter().sum::<u32>(), 4_000, "block {block}");
            assert!(counts.iter().max() > Some(&50) && counts.contains(&0), "not Zipf-like: {counts:?}");
            assert_eq!(content.comments_before(first), block * 4_000);
        }
        assert_eq!(content.totals(500_000).comments, 2_000_000);
    }

    #[test]
    fn comment_ids_are_contiguous_over_a_broken_block() {
        let content = Content::new();
        let mut next = content.comments_before(1_500);
        for id in 1_500..2_600 {
            assert_eq!(content.comments_before(id), next);
            next += u64::from(content.comment_count(id));
        }
    }

    #[test]
    fn tags_are_distinct_and_popular_by_rank() {
        assert_eq!(TAGS.iter().collect::<BTreeSet<_>>().len(), TAGS.len());
        let content = Content::new();
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        for id in 1..=20_000 {
            let post = content.post(id);
            let tags = &post.tags[..post.tag_count];
            assert_eq!(tags.iter().collect::<BTreeSet<_>>().len(), tags.len());
            for tag in tags {
                *seen.entry(tag).or_default() += 1;
            }
        }
        assert_eq!(seen.len(), 200, "some tags are never used");
        assert!(seen["rust"] > 3_000 && seen["rust"] > 20 * seen["ergonomics"], "{seen:?}");
    }

    #[test]
    fn views_are_zipf_like() {
        let content = Content::new();
        let mut views: Vec<u64> = (1..=10_000).map(|id| content.post(id).views).collect();
        views.sort_unstable_by(|a, b| b.cmp(a));
        // rank * views is about the same at every rank: 20 * 10,000.
        for rank in [100_u64, 1_000, 5_000] {
            let product = rank * views[usize::try_from(rank).unwrap() - 1];
            assert!((150_000..260_000).contains(&product), "rank {rank}: {product}");
        }
    }

    #[test]
    fn a_body_is_about_1200_bytes_and_the_row_is_always_the_same() {
        let content = Content::new();
        let row = |id| {
            let mut out = CopyBuffer::default();
            content.write_post(&mut out, id);
            out.as_bytes().to_vec()
        };
        assert_eq!(row(17), row(17));
        assert_ne!(row(17)[12..], row(18)[12..]);
        let bytes: usize = (1..=1_000).map(|id| row(id).len()).sum();
        assert!((1_250_000..1_450_000).contains(&bytes), "1,000 posts have {bytes} bytes");
    }
}
