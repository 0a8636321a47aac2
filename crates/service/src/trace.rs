//! W3C Trace Context, level 1: <https://www.w3.org/TR/trace-context/>.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is passed on; the specification asks for at least 512 characters.
const MAX_TRACESTATE: usize = 512;

/// The place of one request in a trace: the trace's id, the id of this service's own span, and the flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    parent: Option<u64>,
    span_id: u64,
    flags: u8,
    state: Option<HeaderValue>,
}

impl TraceContext {
    /// Continues the trace of the headers under a new span id, or begins one if there is none or it is malformed.
    ///
    /// A trace begun here is not marked as sampled: nothing here records spans, and a callee should not be told so.
    #[must_use]
    pub fn continued_or_begun(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let parent = match (given.next(), given.next()) {
            (Some(one), None) => parse(one.as_bytes()),
            // None, or several: which one would be right cannot be known.
            _ => None,
        };
        match parent {
            Some((trace_id, parent, flags)) => {
                Self { trace_id, parent: Some(parent), span_id: random_span_id(), flags, state: tracestate(headers) }
            }
            // An all-zero id means "invalid"; the lowest bit costs one bit of 128.
            None => {
                Self { trace_id: random_u128() | 1, parent: None, span_id: random_span_id(), flags: 0, state: None }
            }
        }
    }

    /// The id of the whole trace, 32 hex digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The id of this service's part, 16 hex digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// The caller's span id, if the caller sent one.
    #[must_use]
    pub fn parent_id(&self) -> Option<String> {
        self.parent.map(|id| format!("{id:016x}"))
    }

    /// The value of `traceparent` for a call that this request makes: the callee becomes a child of this span.
    #[must_use]
    pub fn traceparent(&self) -> String {
        self.to_string()
    }

    /// The caller's `tracestate`, to be passed on unchanged beside [`traceparent`](Self::traceparent).
    #[must_use]
    pub fn tracestate(&self) -> Option<&HeaderValue> {
        self.state.as_ref()
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// `version-trace_id-parent_id-flags`, lower-case hex only. A higher version may go on after a further dash.
fn parse(value: &[u8]) -> Option<(u128, u64, u8)> {
    let field = |from: usize, to: usize| -> Option<u128> {
        let digits = value.get(from..to)?;
        digits.iter().try_fold(0_u128, |number, digit| {
            let digit = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            Some(number << 4 | u128::from(digit))
        })
    };
    let version = field(0, 2)?;
    if version == 0xff || [2, 35, 52].iter().any(|&dash| value.get(dash) != Some(&b'-')) {
        return None;
    }
    if value.len() > 55 && (version == 0 || value[55] != b'-') {
        return None;
    }
    let trace_id = field(3, 35)?;
    let parent = u64::try_from(field(36, 52)?).ok()?;
    let flags = u8::try_from(field(53, 55)?).ok()?;
    // Of the flags only "sampled" has a meaning in the version that is sent on.
    (trace_id != 0 && parent != 0).then_some((trace_id, parent, flags & 1))
}

fn tracestate(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut given = headers.get_all(TRACESTATE).iter();
    match (given.next(), given.next()) {
        (Some(one), None) if one.len() <= MAX_TRACESTATE && !one.is_empty() => Some(one.clone()),
        _ => None,
    }
}

thread_local! {
    // Seeded from the operating system's randomness (by way of the standard library's hash keys): two replicas that
    // start in the same instant must not hand out the same ids.
    static RANDOM: RefCell<fastrand::Rng> =
        RefCell::new(fastrand::Rng::with_seed(RandomState::new().hash_one(std::process::id())));
}

pub(crate) fn random_u128() -> u128 {
    RANDOM.with_borrow_mut(|random| random.u128(..))
}

fn random_span_id() -> u64 {
    RANDOM.with_borrow_mut(|random| random.u64(1..))
}

/// `N` lower-case hex digits, the lowest ones of `number`.
pub(crate) fn hex<const N: usize>(mut number: u128) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn of(values: &[&str]) -> TraceContext {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("congo=t61rcWkgMzE"));
        TraceContext::continued_or_begun(&headers)
    }

    #[test]
    fn a_trace_is_continued_under_a_new_span() {
        let trace = of(&[GIVEN]);
        assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.parent_id().unwrap(), "b7ad6b7169203331");
        assert_ne!(trace.span_id(), "b7ad6b7169203331");
        let sent = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", trace.span_id());
        assert_eq!(trace.traceparent(), sent);
        assert_eq!(trace.tracestate().unwrap(), "congo=t61rcWkgMzE");
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-what-the-future-holds";
        let trace = of(&[later]);
        assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(trace.traceparent().starts_with("00-") && trace.traceparent().ends_with("-01"));
    }

    #[test]
    fn a_malformed_trace_is_not_continued() {
        let zeros = "0".repeat(32);
        for odd in [
            "",
            "00",
            &GIVEN[..54],
            &format!("{GIVEN}-more"),
            &format!("{GIVEN}0"),
            &GIVEN.to_uppercase(),
            &GIVEN.replace('-', "_"),
            &GIVEN.replacen("00-", "ff-", 1),
            &GIVEN.replacen("00-", "0x-", 1),
            &GIVEN.replace("0af7651916cd43dd8448eb211c80319c", &zeros),
            &GIVEN.replace("b7ad6b7169203331", &zeros[..16]),
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.future",
        ] {
            let trace = of(&[odd]);
            assert_eq!(trace.parent_id(), None, "{odd}");
            assert_ne!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c", "{odd}");
            assert_eq!(trace.tracestate(), None, "{odd}");
            assert_eq!(trace.traceparent().len(), 55);
        }
        assert_eq!(of(&[GIVEN, GIVEN]).parent_id(), None, "two of them");
    }

    #[test]
    fn hex_keeps_leading_zeros() {
        assert_eq!(&hex::<8>(0xabc), b"00000abc");
        assert_eq!(&hex::<32>(u128::MAX), "f".repeat(32).as_bytes());
    }
}
