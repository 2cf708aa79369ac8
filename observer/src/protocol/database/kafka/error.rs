//! Where the errors stand in Kafka's answers: in each kind's in another place, which moves from version to version
//! (`clients/src/main/resources/common/message` of Apache Kafka). Told is the first one.

use super::fields::{Ends, Fields};

/// Codes from 0 on by name (`org.apache.kafka.common.protocol.Errors`).
const NAMES: [&str; 61] = [
    "NONE",
    "OFFSET_OUT_OF_RANGE",
    "CORRUPT_MESSAGE",
    "UNKNOWN_TOPIC_OR_PARTITION",
    "INVALID_FETCH_SIZE",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_OR_FOLLOWER",
    "REQUEST_TIMED_OUT",
    "BROKER_NOT_AVAILABLE",
    "REPLICA_NOT_AVAILABLE",
    "MESSAGE_TOO_LARGE",
    "STALE_CONTROLLER_EPOCH",
    "OFFSET_METADATA_TOO_LARGE",
    "NETWORK_EXCEPTION",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR",
    "INVALID_TOPIC_EXCEPTION",
    "RECORD_LIST_TOO_LARGE",
    "NOT_ENOUGH_REPLICAS",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    "INVALID_REQUIRED_ACKS",
    "ILLEGAL_GENERATION",
    "INCONSISTENT_GROUP_PROTOCOL",
    "INVALID_GROUP_ID",
    "UNKNOWN_MEMBER_ID",
    "INVALID_SESSION_TIMEOUT",
    "REBALANCE_IN_PROGRESS",
    "INVALID_COMMIT_OFFSET_SIZE",
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "INVALID_TIMESTAMP",
    "UNSUPPORTED_SASL_MECHANISM",
    "ILLEGAL_SASL_STATE",
    "UNSUPPORTED_VERSION",
    "TOPIC_ALREADY_EXISTS",
    "INVALID_PARTITIONS",
    "INVALID_REPLICATION_FACTOR",
    "INVALID_REPLICA_ASSIGNMENT",
    "INVALID_CONFIG",
    "NOT_CONTROLLER",
    "INVALID_REQUEST",
    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    "POLICY_VIOLATION",
    "OUT_OF_ORDER_SEQUENCE_NUMBER",
    "DUPLICATE_SEQUENCE_NUMBER",
    "INVALID_PRODUCER_EPOCH",
    "INVALID_TXN_STATE",
    "INVALID_PRODUCER_ID_MAPPING",
    "INVALID_TRANSACTION_TIMEOUT",
    "CONCURRENT_TRANSACTIONS",
    "TRANSACTION_COORDINATOR_FENCED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "SECURITY_DISABLED",
    "OPERATION_NOT_ATTEMPTED",
    "KAFKA_STORAGE_ERROR",
    "LOG_DIR_NOT_FOUND",
    "SASL_AUTHENTICATION_FAILED",
    "UNKNOWN_PRODUCER_ID",
    "REASSIGNMENT_IN_PROGRESS",
];

/// What a request is: its key (`api_key`) and version (`api_version`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    pub key: u16,
    pub version: u16,
}

/// An error's name, or its code where it has none here.
pub fn name(code: i16) -> String {
    match usize::try_from(code).ok().and_then(|code| NAMES.get(code)) {
        Some(name) => (*name).to_owned(),
        None if code == -1 => "UNKNOWN_SERVER_ERROR".to_owned(),
        None => code.to_string(),
    }
}

impl Api {
    /// Whether messages of this version have compact lengths and tagged fields.
    pub fn is_flexible(self) -> bool {
        let since = match self.key {
            0 => 9,
            1 => 12,
            2 | 9 | 11 => 6,
            3 => 9,
            8 => 8,
            10 | 16 | 18 | 24 | 25 | 26 | 28 => 3,
            12 | 13 | 14 | 20 => 4,
            19 => 5,
            22 | 36 => 2,
            _ => return false,
        };
        self.version >= since
    }

    /// The first error that the body of an answer tells of, which stands behind the number of the request. `None` where all
    /// went well; and where the place is not known here.
    pub fn error(self, body: &[u8]) -> Result<Option<i16>, Ends> {
        let mut fields = Fields::new(body, self.is_flexible());
        // Its head ends with tagged fields; that of ApiVersions does not, lest who knows no such version could not read it.
        if self.key != 18 {
            fields.tags()?;
        }
        let throttled_since = match self.key {
            1 | 10 | 12 | 13 | 14 | 16 | 20 => 1,
            2 | 11 | 19 => 2,
            3 | 8 | 9 => 3,
            22 | 24 | 25 | 26 | 28 => 0,
            _ => u16::MAX,
        };
        if self.version >= throttled_since {
            fields.int32()?;
        }
        Answer { version: self.version, fields }.error(self.key)
    }
}

/// An answer's body, from behind `throttle_time_ms`.
struct Answer<'a> {
    version: u16,
    fields: Fields<'a>,
}

type Found = Result<Option<i16>, Ends>;

impl Answer<'_> {
    fn error(mut self, key: u16) -> Found {
        match key {
            0 => self.of_partitions(13, Self::produced),
            1 => self.fetched(),
            2 => self.of_partitions(u16::MAX, |answer| {
                let error = answer.numbered()?;
                match answer.version {
                    0 => {
                        let offsets = answer.fields.array()?;
                        answer.fields.skip(offsets.saturating_mul(8))?;
                    }
                    1..=3 => answer.fields.skip(16)?,
                    _ => answer.fields.skip(20)?,
                }
                Ok(error)
            }),
            3 => self.of_topics_known(),
            8 => self.of_partitions(10, Self::numbered),
            28 => self.of_partitions(u16::MAX, Self::numbered),
            24 if self.version < 4 => self.of_partitions(u16::MAX, Self::numbered),
            9 if self.version < 8 => {
                let of_partition = self.of_partitions(u16::MAX, Self::offset_fetched)?;
                if of_partition.is_some() || self.version < 2 { Ok(of_partition) } else { self.own() }
            }
            10 if self.version >= 4 => self.first_of(|answer| {
                answer.fields.string()?;
                answer.fields.int32()?;
                answer.fields.string()?;
                answer.fields.int32().map(drop)
            }),
            19 => self.first_of(|answer| {
                answer.fields.string()?;
                answer.fields.skip(if answer.version >= 7 { 16 } else { 0 })
            }),
            20 => self.first_of(|answer| {
                answer.fields.string()?;
                answer.fields.skip(if answer.version >= 6 { 16 } else { 0 })
            }),
            10..=14 | 16..=18 | 22 | 24..=26 | 36 => self.own(),
            _ => Ok(None),
        }
    }

    /// An error that stands here.
    fn own(&mut self) -> Found {
        Ok(Some(self.fields.int16()?).filter(|code| *code != 0))
    }

    /// A partition's number and error.
    fn numbered(&mut self) -> Found {
        self.fields.int32()?;
        self.own()
    }

    /// The error of the first in an array, behind what `before` passes over.
    fn first_of(&mut self, before: impl FnOnce(&mut Self) -> Result<(), Ends>) -> Found {
        if self.fields.array()? == 0 {
            return Ok(None);
        }
        before(self)?;
        self.own()
    }

    /// The first error of the partitions of topics; `identified` is the first version that has identifiers for names.
    fn of_partitions(&mut self, identified: u16, partition: impl Fn(&mut Self) -> Found) -> Found {
        for _ in 0..self.fields.array()? {
            self.topic(identified)?;
            for _ in 0..self.fields.array()? {
                if let Some(error) = partition(self)? {
                    return Ok(Some(error));
                }
                self.fields.tags()?;
            }
            self.fields.tags()?;
        }
        Ok(None)
    }

    /// Passes over a topic's name or identifier.
    fn topic(&mut self, identified: u16) -> Result<(), Ends> {
        if self.version >= identified { self.fields.skip(16) } else { self.fields.string() }
    }

    fn produced(&mut self) -> Found {
        let error = self.numbered()?;
        self.fields.skip(match self.version {
            0..=1 => 8,
            2..=4 => 16,
            _ => 24,
        })?;
        if self.version >= 8 {
            for _ in 0..self.fields.array()? {
                self.fields.int32()?;
                self.fields.string()?;
                self.fields.tags()?;
            }
            self.fields.string()?;
        }
        Ok(error)
    }

    /// Records stand between the partitions: told is the error of the first.
    fn fetched(&mut self) -> Found {
        if self.version >= 7 {
            let error = self.own()?;
            if error.is_some() {
                return Ok(error);
            }
            self.fields.int32()?;
        }
        if self.fields.array()? == 0 {
            return Ok(None);
        }
        self.topic(13)?;
        if self.fields.array()? == 0 { Ok(None) } else { self.numbered() }
    }

    fn offset_fetched(&mut self) -> Found {
        self.fields.skip(if self.version >= 5 { 16 } else { 12 })?;
        self.fields.string()?;
        self.own()
    }

    /// Metadata: the brokers, the cluster, then each topic with its partitions.
    fn of_topics_known(&mut self) -> Found {
        let since = |version, octets| if self.version >= version { octets } else { 0 };
        let (identifier, is_internal, leader_epoch, operations) =
            (since(10, 16), since(1, 1), since(7, 4), since(8, 4));
        for _ in 0..self.fields.array()? {
            self.fields.int32()?;
            self.fields.string()?;
            self.fields.int32()?;
            if self.version >= 1 {
                self.fields.string()?;
            }
            self.fields.tags()?;
        }
        if self.version >= 2 {
            self.fields.string()?;
        }
        if self.version >= 1 {
            self.fields.int32()?;
        }
        for _ in 0..self.fields.array()? {
            let error = self.own()?;
            if error.is_some() {
                return Ok(error);
            }
            self.fields.string()?;
            self.fields.skip(identifier + is_internal)?;
            for _ in 0..self.fields.array()? {
                let error = self.own()?;
                if error.is_some() {
                    return Ok(error);
                }
                self.fields.skip(8 + leader_epoch)?;
                self.fields.int32s()?;
                self.fields.int32s()?;
                if self.version >= 5 {
                    self.fields.int32s()?;
                }
                self.fields.tags()?;
            }
            self.fields.skip(operations)?;
            self.fields.tags()?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(key: u16, version: u16, body: &[u8]) -> Found {
        Api { key, version }.error(body)
    }

    #[test]
    fn a_produced_batch_is_refused() {
        let partition = |error: u8| [&[0, 0, 0, 7, 0, error][..], &[0; 24]].concat();
        let ordinary = [&[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2][..], &partition(0), &partition(6), &[0; 4]].concat();
        assert_eq!(error(0, 7, &ordinary), Ok(Some(6)));
        // Tags of the head; one topic; two partitions with no errors of records, no message and no tags.
        let compact = [&[0, 2, 2, b't', 3][..], &partition(0), &[1, 0, 0], &partition(19), &[1, 0, 0]].concat();
        assert_eq!(error(0, 9, &compact), Ok(Some(19)));
        for cut in 0..40 {
            let short = error(0, 9, compact.get(..cut).unwrap_or_default());
            assert!(matches!(short, Err(Ends::Short(least)) if least > cut), "{cut}: {short:?}");
        }
        let fine = [&[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1][..], &partition(0)].concat();
        assert_eq!(error(0, 7, &fine), Ok(None));
    }

    #[test]
    fn a_topic_is_not_known() {
        let broker = [0, 0, 0, 1, 0, 1, b'h', 0, 0, 0x23, 0x84, 0xff, 0xff];
        let head = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &broker, &[0xff, 0xff, 0, 0, 0, 1]].concat();
        let topics = |error: u8, of_partition: u8| {
            let partition = [&[0, of_partition][..], &[0; 8], &[0; 12]].concat();
            [&head, &[0, 0, 0, 1, 0, error, 0, 1, b't', 0, 0, 0, 0, 1][..], &partition].concat()
        };
        assert_eq!(error(3, 5, &topics(3, 0)), Ok(Some(3)));
        assert_eq!(error(3, 5, &topics(0, 5)), Ok(Some(5)));
        assert_eq!(error(3, 5, &topics(0, 0)), Ok(None));
    }

    #[test]
    fn errors_of_whole_answers() {
        assert_eq!(error(18, 3, &[0, 35]), Ok(Some(35)), "whatever the version, the head has no tags");
        assert_eq!(error(12, 0, &[0, 27]), Ok(Some(27)));
        assert_eq!(error(12, 3, &[0, 0, 0, 0, 0, 27]), Ok(Some(27)));
        assert_eq!(error(12, 4, &[0, 0, 0, 0, 0, 0, 27, 0]), Ok(Some(27)));
        assert_eq!(error(1, 11, &[0, 0, 0, 0, 0, 70]), Ok(Some(70)));
        let first = [&[0; 10][..], &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]].concat();
        assert_eq!(error(1, 11, &first), Ok(Some(1)));
        assert_eq!(error(99, 0, &[]), Ok(None), "not known here");
    }

    #[test]
    fn names_of_codes() {
        assert_eq!(
            [-1, 0, 6, 60, 100].map(name),
            ["UNKNOWN_SERVER_ERROR", "NONE", "NOT_LEADER_OR_FOLLOWER", "REASSIGNMENT_IN_PROGRESS", "100"]
        );
    }

    #[test]
    fn lengths_without_end() {
        assert_eq!(error(0, 9, &[0xff; 40]), Err(Ends::Malformed));
        let many = [&[0, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[1; 4000]].concat();
        assert!(error(0, 9, &many).is_err());
    }
}
