//! Ports for the replicas.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::bail;

use crate::exit::Failure;

/// Where free ports are looked for when none is preferred, or those are taken. Below the range from which
/// Linux and macOS take the ports of outgoing connections: a replica that died must find its port free when it
/// comes back, while thousands of connections of a load generator come and go.
const POOL: std::ops::Range<u16> = 30_000..32_760;

/// `count` free loopback ports: from `base` on when it is not 0, else from `preferred` on if there is one, or anywhere; none of
/// `used`.
///
/// # Errors
/// A line that names `flag`, when a port of a fixed range is taken, the range has no room below 65536, or
/// nothing is free.
pub(crate) fn choose(
    flag: &str,
    base: u16,
    preferred: Option<u16>,
    count: u16,
    used: &[u16],
) -> anyhow::Result<Vec<u16>> {
    if base != 0 {
        let Some(last) = base.checked_add(count - 1) else {
            return Err(Failure::usage(format!("{flag} {base}: {count} ports from there on end behind 65535")).into());
        };
        if let Some(both) = (base..=last).find(|port| used.contains(port)) {
            return Err(
                Failure::usage(format!("{flag} {base}: port {both} would serve the API and the admin port")).into()
            );
        }
        if let Some(taken) = (base..=last).find(|&port| !is_free(port)) {
            bail!("port {taken} on 127.0.0.1 is taken; choose another {flag}, or 0 for free ones");
        }
        return Ok((base..=last).collect());
    }
    // Two labs that start at the same moment look in different places.
    let span = u32::from(POOL.end - POOL.start);
    let offset = u16::try_from(std::process::id().wrapping_mul(2_654_435_761) % span).unwrap_or(0);
    let pool = (POOL.start + offset..POOL.end).chain(POOL.start..POOL.start + offset);
    let ports: Vec<u16> = preferred
        .into_iter()
        .flat_map(|first| first..first + count)
        .chain(pool)
        .filter(|&port| !used.contains(&port) && is_free(port))
        .take(usize::from(count))
        .collect();
    if ports.len() < usize::from(count) {
        bail!("no {count} free ports between {} and {} on 127.0.0.1; name some with {flag}", POOL.start, POOL.end);
    }
    Ok(ports)
}

pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_of_a_fixed_range_is_named() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = holder.local_addr().unwrap().port();
        let error = choose("--api-port", taken, None, 1, &[]).unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()) && error.contains("--api-port"), "{error}");
        for (base, count, used) in [(u16::MAX, 2, &[][..]), (1_234, 3, &[1_236])] {
            let error = choose("--api-port", base, None, count, used).unwrap_err();
            assert!(error.downcast_ref::<Failure>().is_some(), "{error}");
        }
    }

    #[test]
    fn free_ports_are_different_and_not_the_taken_one() {
        let ports = choose("--api-port", 0, None, 8, &[]).unwrap();
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0])).unwrap();
        let others = choose("--api-port", 0, Some(ports[0]), 8, &ports[1..]).unwrap();
        assert!(!others.contains(&holder.local_addr().unwrap().port()));
        assert!(others.iter().all(|port| !ports.contains(port)), "{ports:?} {others:?}");
        let distinct: std::collections::BTreeSet<_> = others.iter().collect();
        assert_eq!(distinct.len(), 8);
    }
}
