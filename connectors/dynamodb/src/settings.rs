//! How DynamoDB is reached, as values that cannot be wrong.

use std::fmt;
use std::time::Duration;

/// A secret. Its `Debug` says nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(withheld)")
    }
}

/// Where DynamoDB is, and who we are there. What is left out is found as AWS's own tools find it: in the environment, in
/// their files, from the container or the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// The region.
    pub region: Option<String>,
    /// The address of whatever speaks DynamoDB's protocol; `None`: AWS's own for the region.
    pub endpoint: Option<String>,
    /// The profile in AWS's files.
    pub profile: Option<String>,
    /// Keys of our own. Nobody else is asked for any then.
    pub keys: Option<Keys>,
    /// A role to be assumed with what was found.
    pub role: Option<Role>,
    /// How long one attempt at a request may take. Whether what is given up was done is not known.
    pub timeout: Duration,
}

impl Default for ClientSettings {
    fn default() -> ClientSettings {
        ClientSettings {
            region: None,
            endpoint: None,
            profile: None,
            keys: None,
            role: None,
            timeout: ClientSettings::TIMEOUT_DEFAULT,
        }
    }
}

impl ClientSettings {
    /// Longer than the slowest request of those that succeed: a batch of large items.
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
}

/// Access keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key's id.
    pub id: String,
    /// The secret access key.
    pub secret: Secret,
}

/// A role to be assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy may ask for.
    pub external_id: Option<Secret>,
    /// What the session is called in AWS's records.
    pub session: String,
}
