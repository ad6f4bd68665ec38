//! Tokens: what a registry's challenge asks for, and the exchange of credentials for it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Response, Url};
use serde::Deserialize;

use super::credentials::Credentials;
use super::error::RegistryError;
use super::hosts::{self, HostList};
use super::{realm, transport};

/// The most that a token server has to say.
const MAX_TOKEN_ANSWER: u64 = 1 << 20;

const WHAT: &str = "the request for a token";

/// What a registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from that server.
    Bearer {
        /// Where to get one.
        realm: String,
        /// The name under which the server knows the registry.
        service: Option<String>,
    },
}

impl Challenge {
    /// The challenge in an answer of 401; a token is preferred to a password.
    pub(super) fn of(response: &Response) -> Option<Self> {
        Self::among(response.headers())
    }

    fn among(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            for challenge in http_auth::ChallengeParser::new(value.to_str().unwrap_or_default()).map_while(Result::ok) {
                let parameter = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = parameter("realm")
                {
                    return Some(Self::Bearer { realm, service: parameter("service") });
                }
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

/// The value of `Authorization` that answers a challenge; nothing if there is nothing to answer with.
pub(super) async fn answer(
    challenge: &Challenge,
    credentials: &Credentials,
    scope: &str,
    client: &Client,
    allowed_realms: &HostList,
    plain: &HostList,
) -> Result<Option<HeaderValue>, RegistryError> {
    match (challenge, credentials) {
        (Challenge::Basic, Credentials::Basic { username, password }) => Ok(basic(username, password)),
        (Challenge::Basic, Credentials::Bearer(token)) => Ok(bearer(token)),
        (Challenge::Basic, Credentials::Anonymous | Credentials::Identity(_)) => Ok(None),
        (Challenge::Bearer { .. }, Credentials::Bearer(token)) => Ok(bearer(token)),
        (Challenge::Bearer { realm, service }, _) => {
            let url = realm::check(realm, allowed_realms)?;
            let host = transport::host(&url);
            let bare = url.scheme() == "http" && !hosts::is_local(&host) && !plain.contains(&host);
            if bare && *credentials != Credentials::Anonymous {
                return Err(RegistryError::Plaintext { host });
            }
            let token = exchange(url, service.as_deref(), scope, credentials, client).await?;
            Ok(bearer(&token))
        }
    }
}

async fn exchange(
    mut url: Url,
    service: Option<&str>,
    scope: &str,
    credentials: &Credentials,
    client: &Client,
) -> Result<String, RegistryError> {
    let host = transport::host(&url);
    let mut parameters: Vec<(&str, &str)> = service.map(|service| ("service", service)).into_iter().collect();
    parameters.push(("scope", scope));
    let request = if let Credentials::Identity(token) = credentials {
        parameters.extend([("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "wasmplugin")]);
        // A form is a query without its question mark.
        let mut form = url.clone();
        form.set_query(None);
        let body = form.query_pairs_mut().extend_pairs(parameters).finish().query().unwrap_or_default().to_owned();
        client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body)
    } else {
        url.query_pairs_mut().extend_pairs(parameters);
        let request = client.get(url);
        match credentials {
            Credentials::Basic { username, password } => match basic(username, password) {
                Some(value) => request.header(AUTHORIZATION, value),
                None => request,
            },
            _ => request,
        }
    };
    let response = request.send().await.map_err(|error| transport::failure(&error, &host, WHAT, Duration::ZERO))?;
    let status = response.status().as_u16();
    match status {
        200..=299 => {}
        401 | 403 => {
            let said = transport::complaint(response).await;
            return Err(RegistryError::Refused { host, what: WHAT.to_owned(), status, said, hint: hint(credentials) });
        }
        _ => {
            let said = transport::complaint(response).await;
            return Err(RegistryError::Status { host, what: WHAT.to_owned(), status, said });
        }
    }
    let body = transport::body(response, WHAT, MAX_TOKEN_ANSWER, |_| ()).await?;
    let token = serde_json::from_slice::<Token>(&body).ok().and_then(|answer| answer.token.or(answer.access_token));
    token.filter(|token| !token.is_empty()).ok_or_else(|| RegistryError::Protocol {
        host,
        what: WHAT.to_owned(),
        reason: "there is no `token` in it".to_owned(),
    })
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// What a refusal means for whoever showed these credentials.
pub(super) fn hint(credentials: &Credentials) -> &'static str {
    match credentials {
        Credentials::Anonymous => {
            "no credentials are known for this registry; log in with `docker login` or `podman login`, or name a pull secret"
        }
        Credentials::Basic { .. } => "the user or the password is wrong, or may not do this; log in again",
        Credentials::Identity(_) | Credentials::Bearer(_) => "the token has expired, or may not do this; log in again",
    }
}

fn basic(username: &str, password: &str) -> Option<HeaderValue> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

fn bearer(token: &str) -> Option<HeaderValue> {
    secret(&format!("Bearer {token}"))
}

fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::among(&headers)
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let bearer = Challenge::Bearer { realm: "https://a.test/t?x=1".to_owned(), service: Some("r, s".to_owned()) };
        let text = r#"Bearer realm="https://a.test/t?x=1",service="r, s",scope="repository:a:pull""#;
        assert_eq!(challenge(&[text]), Some(bearer.clone()));
        assert_eq!(challenge(&[r#"Basic realm="x""#, text]), Some(bearer.clone()));
        assert_eq!(challenge(&[&format!(r#"basic realm="x", {text}"#)]), Some(bearer));
        assert_eq!(challenge(&[r#"Basic realm="x""#]), Some(Challenge::Basic));
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for text in ["", "Negotiate", r#"Bearer service="x""#, "Bearer realm=\"open"] {
            assert_eq!(challenge(&[text]), None, "{text}");
        }
    }
}
