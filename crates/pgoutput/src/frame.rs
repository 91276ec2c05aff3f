//! What travels inside the CopyData messages of a replication stream.

use bytes::Bytes;
use understudy_model::Lsn;

use crate::DecodeError;
use crate::reader::Reader;

/// One frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A piece of the change stream: one message. The addresses in its header identify nothing, so they are dropped.
    Data(Bytes),
    /// A sign of life.
    Keepalive {
        /// Everything before this address has been decoded and sent.
        end: Lsn,
        /// The server wants a status update at once.
        reply: bool,
    },
}

/// Reads the content of a CopyData message.
pub fn decode_frame(bytes: Bytes) -> Result<Frame, DecodeError> {
    let mut frame = Reader::new(bytes, "a replication frame");
    match frame.u8()? {
        b'w' => {
            frame.take(24)?;
            Ok(Frame::Data(frame.bytes))
        }
        b'k' => {
            let (end, _clock, reply) = (frame.lsn()?, frame.i64()?, frame.u8()?);
            frame.end(Frame::Keepalive { end, reply: reply != 0 })
        }
        kind => Err(DecodeError::Kind { what: "a replication frame", kind }),
    }
}

/// Length of a status update.
pub const STATUS_BYTES: usize = 34;

/// What we tell the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Everything before this address is durable here: the server may forget it.
    pub confirmed: Lsn,
    /// Our clock, microseconds since 2000-01-01 UTC.
    pub clock_us: i64,
    /// Ask for a keepalive in return.
    pub reply: bool,
}

impl StatusUpdate {
    /// The content of the CopyData message. Written, flushed and applied are one and the same to us: durable.
    pub fn encode(&self) -> [u8; STATUS_BYTES] {
        let mut bytes = [0; STATUS_BYTES];
        bytes[0] = b'r';
        for start in [1, 9, 17] {
            bytes[start..start + 8].copy_from_slice(&self.confirmed.raw().to_be_bytes());
        }
        bytes[25..33].copy_from_slice(&self.clock_us.to_be_bytes());
        bytes[33] = self.reply.into();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_apart() {
        let mut data = vec![b'w'];
        data.extend([7; 24]);
        data.extend(b"payload");
        assert_eq!(decode_frame(data.into()), Ok(Frame::Data(Bytes::from_static(b"payload"))));
        let keepalive = b"k\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x09\x01";
        let wanted = Frame::Keepalive { end: Lsn::new(1 << 32 | 2), reply: true };
        assert_eq!(decode_frame(Bytes::from_static(keepalive)), Ok(wanted));
        for broken in [&b""[..], b"w1234", b"k123", b"x", b"k\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x09\x01!"] {
            assert!(decode_frame(Bytes::from_static(broken)).is_err());
        }
    }

    #[test]
    fn a_status_update_never_claims_more_than_is_durable() {
        let bytes = StatusUpdate { confirmed: Lsn::new(0x0102), clock_us: 3, reply: true }.encode();
        assert_eq!(bytes[0], b'r');
        for start in [1, 9, 17] {
            assert_eq!(bytes[start..start + 8], [0, 0, 0, 0, 0, 0, 1, 2]);
        }
        assert_eq!((&bytes[25..33], bytes[33]), (&[0, 0, 0, 0, 0, 0, 0, 3][..], 1));
    }
}
