//! The way to DynamoDB: credentials, region and role from settings or from where AWS's own tools look.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use understudy_contract::{Class, Failure};

use crate::settings::{ClientSettings, Keys};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Requests are signed for some region even where nobody looks at it.
const REGION_OF_ENDPOINT: &str = "us-east-1";

/// A client with credentials that were found to be there. Whether they are good for anything a request will tell.
///
/// It makes one attempt at each request: what is tried again, and when, is for the caller to say, who has to know whether an
/// attempt of which nothing was heard may have been done.
pub async fn connect(settings: &ClientSettings) -> Result<Client, Failure> {
    let found = load(settings).await;
    found.region().ok_or_else(nowhere)?;
    let credentials = credentials(settings, &found).await?;
    let looked = credentials.provide_credentials().await;
    looked.map_err(|error| without_credentials(settings, error))?;
    let mut config = Builder::from(&found).credentials_provider(credentials);
    // Only here: whoever hands out roles has an address of its own.
    config.set_endpoint_url(settings.endpoint.clone().or_else(|| found.endpoint_url().map(str::to_owned)));
    Ok(Client::from_conf(config.build()))
}

async fn load(settings: &ClientSettings) -> SdkConfig {
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(settings.timeout)
        .build();
    let mut loader: ConfigLoader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    } else if settings.endpoint.is_some() {
        let any = Region::from_static(REGION_OF_ENDPOINT);
        loader = loader
            .region(RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(any));
    }
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(keys) = &settings.keys {
        loader = loader.credentials_provider(own(keys));
    }
    loader.load().await
}

fn own(keys: &Keys) -> Credentials {
    Credentials::new(&keys.id, keys.secret.reveal(), None, None, "understudy")
}

fn nowhere() -> Failure {
    Failure::new(Class::Configuration, "no region is known for DynamoDB")
        .remedy("set `region` under `green.dynamodb`, or AWS_REGION in the environment")
}

/// What was found, or the role that is assumed with it.
async fn credentials(
    settings: &ClientSettings,
    found: &SdkConfig,
) -> Result<SharedCredentialsProvider, Failure> {
    let Some(role) = &settings.role else {
        return found.credentials_provider().ok_or_else(nobody);
    };
    let mut assumed = AssumeRoleProvider::builder(&role.arn).session_name(&role.session).configure(found);
    if let Some(id) = &role.external_id {
        assumed = assumed.external_id(id.reveal());
    }
    Ok(SharedCredentialsProvider::new(assumed.build().await))
}

fn nobody() -> Failure {
    Failure::new(Class::Configuration, "there are no credentials for DynamoDB").remedy(
        "give the sidecar what AWS's own tools would use: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of \
         its container or machine",
    )
}

fn without_credentials(settings: &ClientSettings, error: CredentialsError) -> Failure {
    let failure = match (&error, &settings.role) {
        (CredentialsError::CredentialsNotLoaded(_), _) => nobody(),
        (CredentialsError::InvalidConfiguration(_), _) => Failure::new(
            Class::Configuration,
            "what AWS's files or the environment say of credentials is wrong",
        )
        .remedy("correct the profile; `aws sts get-caller-identity` reads the same"),
        // Whoever hands them out may be away, or may not know of a new role yet.
        (_, Some(role)) => {
            Failure::new(Class::Transient, format!("the role {} could not be assumed", role.arn))
                .remedy("let its trust policy name whoever the sidecar runs as; it tries again by itself")
        }
        (_, None) => {
            Failure::new(Class::Transient, "whoever hands out credentials did not answer as expected")
                .remedy("`aws sts get-caller-identity` asks the same; the sidecar tries again by itself")
        }
    };
    failure.caused_by(error).while_doing("find credentials for DynamoDB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Role, Secret};

    fn keys() -> Option<Keys> {
        Some(Keys { id: "AKIA".to_owned(), secret: Secret::new("guarded") })
    }

    /// A store of one's own needs no region, and keys that are given are looked for nowhere else.
    #[tokio::test]
    async fn an_endpoint_needs_no_region() {
        let endpoint = Some("http://127.0.0.1:1".to_owned());
        let client = connect(&ClientSettings { endpoint, keys: keys(), ..ClientSettings::default() }).await;
        assert!(client.expect("a client").config().region().is_some());
    }

    /// Promise 8: settings end up in messages, and no secret with them.
    #[test]
    fn secrets_are_not_shown() {
        let role = Role {
            arn: "arn:aws:iam::1:role/understudy".to_owned(),
            external_id: Some(Secret::new("guarded")),
            session: "understudy".to_owned(),
        };
        let settings = ClientSettings { keys: keys(), role: Some(role), ..ClientSettings::default() };
        let shown = format!("{settings:?}");
        assert!(shown.contains("AKIA") && !shown.contains("guarded"), "{shown}");
    }

    /// A role that nobody lets us assume is asked for again: it may be new.
    #[test]
    fn a_role_that_cannot_be_assumed_is_named() {
        let role =
            Role { arn: "arn:aws:iam::1:role/x".to_owned(), external_id: None, session: "s".to_owned() };
        let settings = ClientSettings { role: Some(role), ..ClientSettings::default() };
        let failure = without_credentials(&settings, CredentialsError::provider_error("no"));
        assert_eq!(failure.class(), Class::Transient);
        assert!(failure.to_string().contains("role/x"), "{failure}");
    }
}
