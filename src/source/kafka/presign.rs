//! The token of MSK IAM: the address of the call `kafka-cluster:Connect`, signed for a while
//! (SigV4), in base64.
//!
//! Promises: nobody is asked; credentials are never shown.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How long a signature holds, at most.
pub const HOLDS: Duration = Duration::from_mins(15);
/// The service that is called.
const SERVICE: &str = "kafka-cluster";

/// The token for the brokers of a region, signed at a time.
pub fn token(credentials: &Credentials, region: &str, at: SystemTime) -> Result<String, String> {
    let address = format!("https://kafka.{region}.amazonaws.com/?Action={SERVICE}%3AConnect");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(HOLDS);
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(at)
        .settings(settings)
        .build()
        .map_err(|e| e.to_string())?
        .into();
    let nothing = SignableBody::Bytes(&[]);
    let request = SignableRequest::new("GET", &address, std::iter::empty(), nothing);
    let signed = sign(request.map_err(|e| e.to_string())?, &params).map_err(|e| e.to_string())?;
    let mut signed_address = address;
    for (name, value) in signed.into_parts().0.params() {
        signed_address += &format!("&{name}={}", escaped(value));
    }
    // Who asks is not part of what is signed.
    signed_address += concat!("&User-Agent=pinflow%2F", env!("CARGO_PKG_VERSION"));
    Ok(URL_SAFE_NO_PAD.encode(signed_address))
}

/// A text as it stands in a query.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte as char);
            }
            other => out += &format!("%{other:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Signs again what a token says, by nothing but hashes and the published rules of SigV4.
    const AGAIN: &str = r#"
import base64, hashlib, hmac, sys
from urllib.parse import parse_qsl, quote, urlsplit
token, secret = sys.argv[1:]
assert "=" not in token
url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
query = dict(parse_qsl(url.query, strict_parsing=True))
given = query.pop("X-Amz-Signature")
assert query.pop("User-Agent").startswith("pinflow/")
scope = query["X-Amz-Credential"].split("/", 1)[1]
day, region, service, end = scope.split("/")
assert (service, end) == ("kafka-cluster", "aws4_request"), scope
assert (url.scheme, url.path) == ("https", "/"), url
assert url.netloc == f"kafka.{region}.amazonaws.com", url
pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in query.items())
canonical = "\n".join(["GET", "/", "&".join(f"{k}={v}" for k, v in pairs),
    f"host:{url.netloc}", "", "host", hashlib.sha256(b"").hexdigest()])
to_sign = "\n".join(["AWS4-HMAC-SHA256", query["X-Amz-Date"], scope,
    hashlib.sha256(canonical.encode()).hexdigest()])
key = ("AWS4" + secret).encode()
for part in (day, region, service, end):
    key = hmac.new(key, part.encode(), hashlib.sha256).digest()
assert hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest() == given, "signature"
for name in ("Action", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
             "X-Amz-Security-Token", "X-Amz-SignedHeaders"):
    print(name, query.get(name))
"#;

    /// What the token says, once its signature has been found right.
    fn signed_again(token: &str, secret: &str) -> String {
        let ran = Command::new("python3").args(["-c", AGAIN, token, secret]).output();
        let ran = ran.expect("python3 is needed (scripts/setup test)");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("text")
    }

    #[test]
    fn a_token_is_what_another_computation_makes_of_it() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_hours(490_032);
        for (secret, session, region) in [
            ("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None, "eu-central-1"),
            ("se cret", Some("a/b+c==~%&\u{e9}"), "us-gov-west-1"),
        ] {
            let session = session.map(str::to_string);
            let credentials =
                Credentials::new("AKIDEXAMPLE", secret, session.clone(), None, "test");
            let made = token(&credentials, region, at).expect("a token");
            let session = session.unwrap_or("None".into());
            let want = format!(
                "Action kafka-cluster:Connect\nX-Amz-Algorithm AWS4-HMAC-SHA256\n\
                 X-Amz-Credential AKIDEXAMPLE/20251126/{region}/kafka-cluster/aws4_request\n\
                 X-Amz-Date 20251126T000000Z\nX-Amz-Expires 900\n\
                 X-Amz-Security-Token {session}\nX-Amz-SignedHeaders host\n"
            );
            assert_eq!(signed_again(&made, secret), want);
        }
    }
}
