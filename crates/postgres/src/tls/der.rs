//! The few fields of an X.509 certificate (RFC 5280) that rustls does not hand out: subject, dates, signature algorithm.
//!
//! It reads a certificate that webpki has accepted or is about to judge; it decides nothing about trust by itself.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXPLICIT_0: u8 = 0xa0;
const EXPLICIT_3: u8 = 0xa3;

const ID_COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ID_SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 1.2.840.113549.1.1: signatures with RSA.
const ID_PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4.3: ECDSA with SHA-2.
const ID_ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
/// 2.16.840.1.101.3.4.2: SHA-2.
const ID_SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// A hash function that a signature uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// One type-length-value element.
#[derive(Clone, Copy)]
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

/// Takes one element off the front. Only definite lengths, as DER demands.
fn take<'a>(input: &mut &'a [u8]) -> Option<Element<'a>> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        rest = after;
        digits.iter().fold(0usize, |length, digit| (length << 8) | usize::from(*digit))
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(Element { tag, content })
}

fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    take(input).filter(|element| element.tag == tag).map(|element| element.content)
}

/// The fields that matter, still encoded.
pub(crate) struct Certificate<'a> {
    validity: &'a [u8],
    subject: &'a [u8],
    extensions: &'a [u8],
    signature_algorithm: &'a [u8],
}

impl<'a> Certificate<'a> {
    pub(crate) fn read(mut der: &'a [u8]) -> Option<Self> {
        let mut certificate = expect(&mut der, SEQUENCE)?;
        let mut body = expect(&mut certificate, SEQUENCE)?;
        let signature_algorithm = expect(&mut certificate, SEQUENCE)?;
        if body.first() == Some(&EXPLICIT_0) {
            take(&mut body)?;
        }
        let (_serial, _algorithm, _issuer) = (take(&mut body)?, take(&mut body)?, take(&mut body)?);
        let validity = expect(&mut body, SEQUENCE)?;
        let subject = expect(&mut body, SEQUENCE)?;
        let _key = take(&mut body)?;
        let mut extensions: &[u8] = &[];
        while let Some(element) = take(&mut body) {
            if element.tag == EXPLICIT_3 {
                let mut inner = element.content;
                extensions = expect(&mut inner, SEQUENCE)?;
            }
        }
        Some(Self { validity, subject, extensions, signature_algorithm })
    }

    /// First and last second of validity, since 1970.
    pub(crate) fn validity(&self) -> Option<(i64, i64)> {
        let mut rest = self.validity;
        Some((time(take(&mut rest)?)?, time(take(&mut rest)?)?))
    }

    pub(crate) fn has_alternative_names(&self) -> bool {
        let mut rest = self.extensions;
        std::iter::from_fn(|| take(&mut rest))
            .any(|mut extension| expect(&mut extension.content, OBJECT_ID) == Some(ID_SUBJECT_ALT_NAME))
    }

    /// The last common name of the subject, the most specific one. One that holds a NUL is no name at all.
    pub(crate) fn common_name(&self) -> Option<String> {
        let mut names = self.subject;
        let mut found = None;
        while let Some(mut set) = expect(&mut names, SET) {
            while let Some(mut attribute) = expect(&mut set, SEQUENCE) {
                if expect(&mut attribute, OBJECT_ID) == Some(ID_COMMON_NAME)
                    && let Some(value) = take(&mut attribute)
                {
                    found = String::from_utf8(value.content.to_vec()).ok();
                }
            }
        }
        found.filter(|name| !name.contains('\0'))
    }

    /// The hash of `tls-server-end-point` (RFC 5929 §4.1): the signature's, but SHA-256 for MD5 and SHA-1. `None` when
    /// the RFC defines none, as for Ed25519.
    pub(crate) fn binding_hash(&self) -> Option<Hash> {
        let mut rest = self.signature_algorithm;
        let id = expect(&mut rest, OBJECT_ID)?;
        let (&last, family) = id.split_last()?;
        match (family, last) {
            (ID_PKCS1, 4 | 5 | 11) | (ID_ECDSA_SHA2, 2) => Some(Hash::Sha256),
            (ID_PKCS1, 12) | (ID_ECDSA_SHA2, 3) => Some(Hash::Sha384),
            (ID_PKCS1, 13) | (ID_ECDSA_SHA2, 4) => Some(Hash::Sha512),
            (ID_PKCS1, 10) => pss_hash(rest),
            _ => None,
        }
    }
}

/// RSASSA-PSS names its hash in its parameters (RFC 4055 §3.1); SHA-1 is the default.
fn pss_hash(mut parameters: &[u8]) -> Option<Hash> {
    let mut parameters = expect(&mut parameters, SEQUENCE)?;
    let Some(mut explicit) = expect(&mut parameters, EXPLICIT_0) else { return Some(Hash::Sha256) };
    let mut algorithm = expect(&mut explicit, SEQUENCE)?;
    let (&last, family) = expect(&mut algorithm, OBJECT_ID)?.split_last()?;
    match (family, last) {
        (ID_SHA2, 1) => Some(Hash::Sha256),
        (ID_SHA2, 2) => Some(Hash::Sha384),
        (ID_SHA2, 3) => Some(Hash::Sha512),
        _ => None,
    }
}

fn time(element: Element<'_>) -> Option<i64> {
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (element.tag, text.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let civil = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            if let Some(certificate) = Certificate::read(&bytes) {
                let _ = (certificate.validity(), certificate.common_name(), certificate.binding_hash());
                let _ = certificate.has_alternative_names();
            }
        }
    }
}
