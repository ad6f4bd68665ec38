//! The requests of the demo, and what must come of each.

/// Alice, of the staff.
pub(super) const ALICE: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImRlbW8iLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlLmNvbSIsInN1YiI6ImFsaWNlIiwiYXVkIjoic2hvcCIsImV4cCI6NDEwMjQ0NDgwMCwiZ3JvdXBzIjpbInN0YWZmIl19.837zAGO9veEwx1i72BcT6KqW_tbYLTQSEjCtcMesJFdsqictEkhQ0FgFXxwsR80Nw6AluTQdLVDRX25vZBmIeg";
/// Mallory, a guest.
const MALLORY: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImRlbW8iLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlLmNvbSIsInN1YiI6Im1hbGxvcnkiLCJhdWQiOiJzaG9wIiwiZXhwIjo0MTAyNDQ0ODAwLCJncm91cHMiOlsiZ3Vlc3RzIl19.ktiBwbCIDCtZSjt7xF9FUSuY5gviCBd_WpKfKRHLImIY9k7K-YEhGBE7m3IdEz8BwJAR_vWrxSdAGMF1AmRFqg";
/// Alice's, of long ago.
const EXPIRED: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImRlbW8iLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlLmNvbSIsInN1YiI6ImFsaWNlIiwiYXVkIjoic2hvcCIsImV4cCI6MTU3NzgzNjgwMCwiZ3JvdXBzIjpbInN0YWZmIl19.g_OKpzqJDEPaVv8OaBCGQtjPHt_Zv0HKD_dBPNcSaP33ZkODcaZRK4o-rwm5fkIg-QzY03X7Q_qIWUYeIvzJgQ";
/// Of an issuer that nobody here believes.
const STRANGER: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImRlbW8iLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL290aGVyLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJzaG9wIiwiZXhwIjo0MTAyNDQ0ODAwLCJncm91cHMiOlsic3RhZmYiXX0.gBboaSqgnKClwFCQMHNQ4zG72ly24x_dCbb36lK-4CYGCL8bWkXbJTfGi6oTWVzQYEGFr5a3QDyGu-ek3Uok8Q";

/// Who asks, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    /// Through the sidecar of `browser`.
    Sidecar,
    /// Straight to the sidecar of `orders`, past the mesh.
    Street,
}

/// One request, and what must come of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    pub(super) entrance: Entrance,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What distinguishes it, besides method and path.
    pub(super) remark: &'static str,
    /// The token; `ALICE~` is hers with a digit of the signature changed.
    pub(super) token: Option<&'static str>,
    /// What the client claims to be in headers of its own making.
    pub(super) claim: Option<&'static str>,
    /// What must come back; nothing where there is no connection.
    pub(super) status: Option<u16>,
    /// What a refusal says.
    pub(super) body: &'static str,
    /// What the `jwt` module must be seen to do.
    pub(super) jwt: &'static str,
    /// What the `rbac` module must be seen to do.
    pub(super) rbac: &'static str,
    /// Who the application is told that asks, where the request reaches it.
    pub(super) user: Option<&'static str>,
}

/// All of them, in the order in which they are played.
pub(super) fn scenes() -> Vec<Scene> {
    vec![
        get("/", "no token").passes("no token", None),
        get("/orders", "no token").forbidden("no token"),
        get("/orders", "alice's token").with(ALICE).passes("admits alice", Some("alice")),
        get("/orders", "alice's token, claims to be root")
            .with(ALICE)
            .claims("root")
            .passes("admits alice", Some("alice")),
        get("/orders", "mallory's token").with(MALLORY).forbidden("admits"),
        get("/orders", "an expired token").with(EXPIRED).unauthorized("Jwt is expired"),
        get("/orders", "a token of a stranger").with(STRANGER).unauthorized("Jwt issuer is not configured"),
        get("/orders", "a forged token").with(FORGED).unauthorized("Jwt verification fails"),
        get("/orders", "no token at all, but a word")
            .with("hello")
            .unauthorized("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
        get("/orders/admin", "alice's token").with(ALICE).forbidden("admits"),
        get("/cellar", "alice's token").with(ALICE).forbidden("admits"),
        Scene { method: "DELETE", ..get("/", "no token") }.forbidden("no token"),
        Scene { entrance: Entrance::Street, ..get("/", "past the mesh, without a certificate") },
    ]
}

/// Alice's token for another person: the signature no longer fits.
const FORGED: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImRlbW8iLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlLmNvbSIsInN1YiI6Im1hbGxvcnkiLCJhdWQiOiJzaG9wIiwiZXhwIjo0MTAyNDQ0ODAwLCJncm91cHMiOlsiZ3Vlc3RzIl19.837zAGO9veEwx1i72BcT6KqW_tbYLTQSEjCtcMesJFdsqictEkhQ0FgFXxwsR80Nw6AluTQdLVDRX25vZBmIeg";

const fn get(path: &'static str, remark: &'static str) -> Scene {
    Scene {
        entrance: Entrance::Sidecar,
        method: "GET",
        path,
        remark,
        token: None,
        claim: None,
        status: None,
        body: "",
        jwt: "-",
        rbac: "-",
        user: None,
    }
}

impl Scene {
    const fn with(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    const fn claims(self, user: &'static str) -> Self {
        Self { claim: Some(user), ..self }
    }

    const fn passes(self, jwt: &'static str, user: Option<&'static str>) -> Self {
        Self { status: Some(200), jwt, rbac: "allows", user, ..self }
    }

    const fn forbidden(self, jwt: &'static str) -> Self {
        Self { status: Some(403), body: "RBAC: access denied", jwt, rbac: "denies", ..self }
    }

    const fn unauthorized(self, body: &'static str) -> Self {
        Self { status: Some(401), body, jwt: "refuses", rbac: "-", ..self }
    }

    /// Whether the application must be asked.
    pub(super) fn arrives(&self) -> bool {
        self.status == Some(200)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_played() {
        for status in [Some(200), Some(401), Some(403), None] {
            assert!(scenes().iter().any(|scene| scene.status == status), "{status:?}");
        }
    }

    #[test]
    fn only_a_token_of_the_staff_gets_to_orders() {
        for scene in scenes() {
            assert!(scene.path != "/orders" || !scene.arrives() || scene.token == Some(ALICE), "{scene:?}");
        }
    }
}
