//! Signatures of webhooks by the rules of Standard Webhooks, version 1.0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// Keys that messages are signed with.
pub(super) struct Keys(Vec<hmac::Key>);

impl Keys {
    /// Reads secrets, with spaces between where there are several: each gives a signature, so that one can take the other's place.
    ///
    /// # Errors
    /// What is wrong, without a word of the secret.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let keys: Vec<hmac::Key> = text.split_whitespace().map(key).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err("is empty".into()) } else { Ok(Self(keys)) }
    }

    /// `webhook-signature` of a message.
    pub(super) fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let signature = |key: &hmac::Key| {
            let mut signing = hmac::Context::with_key(key);
            signing.update(format!("{id}.{seconds}.").as_bytes());
            signing.update(body);
            format!("v1,{}", STANDARD.encode(signing.sign()))
        };
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

fn key(secret: &str) -> Result<hmac::Key, String> {
    /// The standard wants 24 to 64 bytes; fewer can be guessed.
    const KEY_BYTES_MIN: usize = 16;
    let wanted = "a secret is `whsec_` and base64 of 24 to 64 random bytes, such as `whsec_$(openssl rand -base64 32)`";
    let encoded = secret.strip_prefix(PREFIX).ok_or_else(|| format!("does not begin with `{PREFIX}`; {wanted}"))?;
    let bytes = STANDARD.decode(encoded).map_err(|_| format!("has no base64 behind `{PREFIX}`; {wanted}"))?;
    if bytes.len() < KEY_BYTES_MIN {
        return Err(format!("is too short; {wanted}"));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// Why a text is no secret to sign webhooks with, if it is none.
pub fn secret_fault(text: &str) -> Option<String> {
    Keys::parse(text).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standards_own_example() {
        // From the standard's text, and its reference libraries' tests.
        let keys = Keys::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_of_two_secrets_gives_a_signature() {
        let (one, other) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX");
        let both = Keys::parse(&format!("{one} {other}")).unwrap().sign("a", 1, b"x");
        let each = [one, other].map(|secret| Keys::parse(secret).unwrap().sign("a", 1, b"x"));
        assert_eq!(both, each.join(" "));
    }

    #[test]
    fn what_is_no_secret_is_refused_without_a_word_of_it() {
        for text in ["", "hunter2hunter2", "whsec_hunter2!", "whsec_aHVudGVyMg=="] {
            let fault = secret_fault(text).unwrap();
            assert!(!fault.contains("hunter2") && !fault.contains("aHVudGVyMg"), "{fault}");
        }
    }
}
