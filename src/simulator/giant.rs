//! One message that is far too long, in the framing of its connection.

use super::connection::{Connection, End, push_chunk};
use super::figures::add;
use super::frames::{Framing, Opcode, push_header};

/// In what pieces it is written.
const PIECE: usize = 64 * 1024;

impl Connection {
    /// Sends a message of so many bytes, or one without an end.
    pub(crate) async fn send_giant(&mut self, bytes: u64) -> Result<(), End> {
        add(&self.shared.counters.giant_frames, 1);
        let endless = self.shared.faults().giant_fragments;
        let head: &[u8] = match self.framing {
            Framing::Chunked => br#"data: {"giant":""#,
            Framing::WebSocket | Framing::NulEnded | Framing::Requests => br#"{"giant":""#,
        };
        let mut piece = vec![b'x'; PIECE];
        piece[..head.len()].copy_from_slice(head);
        if self.framing == Framing::WebSocket && !endless {
            push_header(&mut self.out, Opcode::Text, true, bytes);
        }
        let (mut left, mut opcode) = (bytes, Opcode::Text);
        while endless || left > 0 {
            let count = if endless { PIECE } else { usize::try_from(left).unwrap_or(usize::MAX).min(PIECE) };
            left = left.saturating_sub(count as u64);
            if !endless && left == 0 && count >= 2 {
                piece[count - 2..count].copy_from_slice(b"\"}");
            }
            match self.framing {
                Framing::WebSocket if endless => {
                    push_header(&mut self.out, opcode, false, count as u64);
                    self.out.extend_from_slice(&piece[..count]);
                    opcode = Opcode::Continuation;
                }
                Framing::Chunked => push_chunk(&mut self.out, &piece[..count]),
                Framing::WebSocket | Framing::NulEnded | Framing::Requests => {
                    self.out.extend_from_slice(&piece[..count]);
                }
            }
            self.write_out().await?;
            piece[..head.len()].fill(b'x');
        }
        match self.framing {
            Framing::NulEnded => self.out.push(0),
            Framing::Chunked => push_chunk(&mut self.out, b"\n\n"),
            Framing::WebSocket | Framing::Requests => {}
        }
        Ok(())
    }
}
