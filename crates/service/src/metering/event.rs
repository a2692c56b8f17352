//! The journal's records: admitted requests, and sums of refused ones. A compact binary form with a version byte.

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKeyId, TenantId, text::ENDPOINT};
use uuid::Uuid;

/// Two ids, two times, a few numbers, and three texts: a limit's name, an address and an endpoint.
pub(crate) const MAX_RECORD: usize = 256 + ENDPOINT.most * char::MAX_LEN_UTF8;

const ADMITTED: u8 = 1;
/// Refused requests of one unit each. Only read, from journals that an earlier version left.
const REFUSED_OF_ONE_UNIT: u8 = 2;
const REFUSED: u8 = 3;

/// Why requests were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// A limit refused.
    RateLimited,
    /// The period's quota refused.
    QuotaExceeded,
    /// The key's state or the caller's address did not allow the request.
    Rejected,
}

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// One admitted request, to be billed.
    Admitted { tenant_id: TenantId, api_key_id: ApiKeyId, at: DateTime<Utc>, units: u32, endpoint: &'a str },
    /// Requests of one minute that were refused for the same reason.
    Refused {
        tenant_id: TenantId,
        api_key_id: ApiKeyId,
        first_at: DateTime<Utc>,
        last_at: DateTime<Utc>,
        /// The number of requests.
        count: u32,
        /// The units of all these requests together.
        units: u64,
        refusal: Refusal,
        limit_name: &'a str,
        endpoint: &'a str,
        ip_address: &'a str,
    },
}

impl Event<'_> {
    /// Writes the record into `buffer` and returns the written part. None when a text is too long to be stored.
    pub(crate) fn encode<'b>(&self, buffer: &'b mut [u8; MAX_RECORD]) -> Option<&'b [u8]> {
        let mut out = Writer { buffer, len: 0 };
        match self {
            Self::Admitted { tenant_id, api_key_id, at, units, endpoint } => {
                out.bytes(&[ADMITTED])?;
                out.bytes(tenant_id.0.as_bytes())?;
                out.bytes(api_key_id.0.as_bytes())?;
                out.bytes(&at.timestamp_micros().to_le_bytes())?;
                out.bytes(&units.to_le_bytes())?;
                out.text(endpoint)?;
            }
            Self::Refused {
                tenant_id,
                api_key_id,
                first_at,
                last_at,
                count,
                units,
                refusal,
                limit_name,
                endpoint,
                ip_address,
            } => {
                out.bytes(&[REFUSED])?;
                out.bytes(tenant_id.0.as_bytes())?;
                out.bytes(api_key_id.0.as_bytes())?;
                out.bytes(&first_at.timestamp_micros().to_le_bytes())?;
                out.bytes(&last_at.timestamp_micros().to_le_bytes())?;
                out.bytes(&count.to_le_bytes())?;
                out.bytes(&units.to_le_bytes())?;
                out.bytes(&[match refusal {
                    Refusal::RateLimited => 0,
                    Refusal::QuotaExceeded => 1,
                    Refusal::Rejected => 2,
                }])?;
                out.text(limit_name)?;
                out.text(endpoint)?;
                out.text(ip_address)?;
            }
        }
        let Writer { buffer, len } = out;
        buffer.get(..len)
    }
}

/// Whether a record is of an admitted request, as most are.
pub(crate) fn is_admitted(record: &[u8]) -> bool {
    record.first() == Some(&ADMITTED)
}

/// Parses a record. None when it is not one of ours, which a checksummed journal never returns.
pub(crate) fn decode(record: &[u8]) -> Option<Event<'_>> {
    let mut input = Reader(record);
    let [kind] = input.array()?;
    let tenant_id = TenantId(Uuid::from_bytes(input.array()?));
    let api_key_id = ApiKeyId(Uuid::from_bytes(input.array()?));
    let first_at = DateTime::from_timestamp_micros(i64::from_le_bytes(input.array()?))?;
    match kind {
        ADMITTED => {
            let units = u32::from_le_bytes(input.array()?);
            Some(Event::Admitted { tenant_id, api_key_id, at: first_at, units, endpoint: input.text()? })
        }
        REFUSED | REFUSED_OF_ONE_UNIT => {
            let last_at = DateTime::from_timestamp_micros(i64::from_le_bytes(input.array()?))?;
            let count = u32::from_le_bytes(input.array()?);
            let units = if kind == REFUSED { u64::from_le_bytes(input.array()?) } else { u64::from(count) };
            let refusal = match input.array()? {
                [0] => Refusal::RateLimited,
                [1] => Refusal::QuotaExceeded,
                [2] => Refusal::Rejected,
                _ => return None,
            };
            let (limit_name, endpoint, ip_address) = (input.text()?, input.text()?, input.text()?);
            Some(Event::Refused {
                tenant_id,
                api_key_id,
                first_at,
                last_at,
                count,
                units,
                refusal,
                limit_name,
                endpoint,
                ip_address,
            })
        }
        _ => None,
    }
}

struct Writer<'b> {
    buffer: &'b mut [u8; MAX_RECORD],
    len: usize,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.buffer.get_mut(self.len..self.len + bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }

    fn text(&mut self, text: &str) -> Option<()> {
        self.bytes(&u16::try_from(text.len()).ok()?.to_le_bytes())?;
        self.bytes(text.as_bytes())
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(head).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_as_they_were_written() {
        let at = DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap();
        let (tenant_id, api_key_id) = (TenantId(Uuid::from_u128(7)), ApiKeyId(Uuid::from_u128(9)));
        for event in [
            Event::Admitted { tenant_id, api_key_id, at, units: 3, endpoint: "/v1/ä" },
            Event::Refused {
                tenant_id,
                api_key_id,
                first_at: at,
                last_at: at,
                count: 70_000,
                units: 5_000_000_000,
                refusal: Refusal::QuotaExceeded,
                limit_name: "quota",
                endpoint: "",
                ip_address: "2001:db8::1",
            },
        ] {
            let mut buffer = [0; MAX_RECORD];
            let record = event.encode(&mut buffer).unwrap();
            assert_eq!(decode(record).as_ref(), Some(&event));
            for cut in 0..record.len() {
                assert_eq!(decode(&record[..cut]), None);
            }
        }
    }

    #[test]
    fn a_record_of_an_earlier_version_counts_a_unit_per_request() {
        let ids = [[7; 16], [9; 16]].concat();
        let at = 1_700_000_000_123_456_i64.to_le_bytes();
        let texts = [0, 0, 0, 0, 0, 0];
        let record = [&[2][..], &ids, &at, &at, &70_000_u32.to_le_bytes(), &[0], &texts].concat();
        assert!(matches!(decode(&record), Some(Event::Refused { count: 70_000, units: 70_000, .. })));
    }
}
