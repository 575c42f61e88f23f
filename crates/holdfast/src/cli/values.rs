//! Option values with units, parsed into types.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Parses a number of bytes, plain or with a suffix: `4096`, `64KiB`, `1.5GB`.
///
/// # Errors
/// A sentence for the user if the text is no such number.
pub fn parse_bytes(text: &str) -> Result<Bytes, String> {
    bytesize::ByteSize::from_str(text)
        .map(|size| Bytes(size.as_u64()))
        .map_err(|error| format!("{error}; write a number of bytes such as 1048576, 64KiB or 8MiB"))
}

/// Parses a span of time with its unit: `500ms`, `30s`, `10m`, `1h 30m`.
///
/// # Errors
/// A sentence for the user if the text is no such span.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| {
        format!("{error}; write a time with its unit such as 500ms, 30s, 10m or 1h")
    })
}

/// Parses a rate per second: finite, not negative, at most 1000.
///
/// # Errors
/// A sentence for the user if the text is no such rate.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1000.0).contains(&rate) => Ok(rate),
        Ok(_) => Err("write a rate from 0 to 1000 per second".to_owned()),
        Err(error) => Err(format!("{error}; write a rate from 0 to 1000 per second")),
    }
}

/// What readers get while no daemon or no origin can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOutage {
    /// They wait until it can.
    Wait,
    /// They wait, but get EIO once the object's outage is older than `after`.
    Eio {
        /// Age of the object's outage from which reads fail.
        after: Duration,
    },
}

impl FromStr for OnOutage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "wait" => Ok(Self::Wait),
            Some(("eio", after)) => Ok(Self::Eio {
                after: parse_duration(after)?,
            }),
            _ => Err("write wait, or eio: with a time such as eio:30s".to_owned()),
        }
    }
}

/// How much to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// Also what is suspicious.
    Warn,
    /// Also what changed.
    Info,
    /// Also every request.
    Debug,
    /// Everything.
    Trace,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_binary_and_decimal_suffixes() {
        assert_eq!(parse_bytes("4096"), Ok(Bytes(4096)));
        assert_eq!(parse_bytes("64KiB"), Ok(Bytes(65_536)));
        assert_eq!(parse_bytes("1.5MB"), Ok(Bytes(1_500_000)));
        assert!(parse_bytes("much").unwrap_err().contains("64KiB"));
        assert!(parse_bytes("-1").is_err());
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(parse_duration("30").unwrap_err().contains("30s"));
    }

    #[test]
    fn outage_policies_parse() {
        assert_eq!("wait".parse(), Ok(OnOutage::Wait));
        assert_eq!(
            "eio:30s".parse(),
            Ok(OnOutage::Eio {
                after: Duration::from_secs(30)
            })
        );
        for wrong in ["", "eio", "eio:", "eio:5", "wait:5s", "fail"] {
            assert!(wrong.parse::<OnOutage>().is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn rates_are_bounded() {
        assert_eq!(parse_rate("12.5"), Ok(12.5));
        for wrong in ["-1", "NaN", "inf", "1001", "x"] {
            assert!(parse_rate(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
