//! Credentials the origin asks for (RFC 7617 basic, RFC 6750 bearer).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

/// Which credentials every request must carry; a request without them answers 401 with `WWW-Authenticate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// None are asked for; sent ones are ignored.
    None,
    /// `Authorization: Basic base64(user:password)`.
    Basic {
        /// User name, without colon.
        user: String,
        /// Password.
        password: String,
    },
    /// `Authorization: Bearer token`.
    Bearer {
        /// The token, as sent.
        token: String,
    },
}

impl Auth {
    /// The challenge to answer with, or `None` when the request may go on.
    pub(super) fn challenge(&self, headers: &HeaderMap) -> Option<&'static str> {
        let (expected, challenge) = match self {
            Self::None => return None,
            Self::Basic { user, password } => (
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
                "Basic realm=\"origin\"",
            ),
            Self::Bearer { token } => (format!("Bearer {token}"), "Bearer realm=\"origin\""),
        };
        let sent = headers
            .get(AUTHORIZATION)
            .map(hyper::header::HeaderValue::as_bytes);
        (sent != Some(expected.as_bytes())).then_some(challenge)
    }
}
