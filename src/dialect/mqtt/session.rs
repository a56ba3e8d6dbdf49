//! One link's conversation in MQTT.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, Packet, PubAck, Publish, SubAck, Subscribe, SubscribeFilter, SubscribeReasonCode,
    Unsubscribe,
};
use rumqttc::mqttbytes::{Error, QoS, check};

use super::{MqttSettings, filter};
use crate::dialect::envelope::Envelope;
use crate::dialect::{
    Frame, Intake, MESSAGE_BYTES_MAX, Message, OutFrame, Outbox, ReadingPlan, Receipt, Session, Topic, TopicId,
    too_long,
};

/// Requests kept for their answers. Source: a guess; a broker answers at once.
const OPEN_MAX: usize = 1024;

/// Names whose topic is remembered; with more, some are looked up again. Source: a guess.
const KNOWN_MAX: usize = 4096;

/// What a SUBSCRIBE asked for.
struct Asked {
    packet: u16,
    topics: Vec<TopicId>,
}

pub(super) struct MqttSession {
    settings: Arc<MqttSettings>,
    qos: QoS,
    topics: Arc<[Topic]>,
    /// Asked for over this link, in order.
    carried: Vec<TopicId>,
    /// To be asked for when the broker has taken us.
    waiting: Vec<TopicId>,
    connected: bool,
    open: VecDeque<Asked>,
    next_packet: u16,
    /// What came and is no whole packet yet.
    buffer: BytesMut,
    /// The longest packet that is taken; packets may span frames.
    packet_bytes_max: usize,
    envelope: Envelope,
    receipts: Vec<Receipt>,
    /// Which topic a name was found to be of.
    known: HashMap<Box<str>, TopicId>,
    /// Filters of the broker's session that this link does not carry, told once that they are not wanted.
    stray: Vec<TopicId>,
    broken: bool,
}

impl MqttSession {
    pub(super) fn new(settings: &Arc<MqttSettings>, qos: QoS, topics: &Arc<[Topic]>) -> Self {
        Self {
            settings: Arc::clone(settings),
            qos,
            topics: Arc::clone(topics),
            carried: Vec::new(),
            waiting: Vec::new(),
            connected: false,
            open: VecDeque::new(),
            next_packet: 0,
            buffer: BytesMut::new(),
            packet_bytes_max: MESSAGE_BYTES_MAX,
            envelope: Envelope::default(),
            receipts: Vec::new(),
            known: HashMap::new(),
            stray: Vec::new(),
            broken: false,
        }
    }

    fn packet_id(&mut self) -> u16 {
        // 0 is none.
        self.next_packet = self.next_packet.checked_add(1).unwrap_or(1);
        self.next_packet
    }

    fn filter_of(&self, topic: TopicId) -> Option<String> {
        self.topics.get(topic.0 as usize).map(|topic| topic.name.to_string())
    }

    fn ask(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for group in topics.chunks(self.settings.limits.topics_per_request.max(1) as usize) {
            let packet = self.packet_id();
            let filters: Vec<SubscribeFilter> = group
                .iter()
                .filter_map(|topic| Some(SubscribeFilter::new(self.filter_of(*topic)?, self.qos)))
                .collect();
            if self.open.len() == OPEN_MAX {
                self.open.pop_front();
            }
            self.open.push_back(Asked { packet, topics: group.to_vec() });
            send(&Packet::Subscribe(Subscribe { pkid: packet, filters }), out);
        }
    }

    fn end(&mut self, topics: &[TopicId], out: &mut Outbox) {
        let filters: Vec<String> = topics.iter().filter_map(|topic| self.filter_of(*topic)).collect();
        if !filters.is_empty() {
            let pkid = self.packet_id();
            send(&Packet::Unsubscribe(Unsubscribe { pkid, topics: filters }), out);
        }
    }

    /// The first filter that means a topic: one that this link carries, else one that another does, which the broker still
    /// has under our name.
    fn meant(&mut self, name: &str) -> Option<TopicId> {
        if let Some(topic) = self.known.get(name) {
            return Some(*topic);
        }
        let topic = self.look_up(name)?;
        if self.known.len() == KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(name.into(), topic);
        Some(topic)
    }

    fn look_up(&self, name: &str) -> Option<TopicId> {
        let means = |topic: &TopicId| filter::matches(&self.topics[topic.0 as usize].name, name);
        let carried = self.carried.iter().copied().find(means);
        carried.or_else(|| self.topics.iter().map(|topic| topic.id).find(means))
    }

    fn publish(&mut self, publish: &Publish, raw: &[u8], intake: &mut dyn Intake, out: &mut Outbox) {
        if publish.qos != QoS::AtMostOnce {
            self.receipts.push(Receipt(publish.pkid.into()));
        }
        let Some(topic) = self.meant(&publish.topic) else {
            let name: String = publish.topic.chars().take(100).collect();
            return intake.unreadable(None, &format!("data of topic `{name}`, which nobody asked for"), raw);
        };
        if !self.carried.contains(&topic) && !self.stray.contains(&topic) {
            self.stray.push(topic);
            self.end(&[topic], out);
        }
        let mut envelope = self.envelope.begin().text("topic", &publish.topic).plain("qos", publish.qos as u8);
        if publish.retain {
            envelope = envelope.plain("retain", true);
        }
        if publish.dup {
            envelope = envelope.plain("dup", true);
        }
        let bytes = envelope.payload(&publish.payload).end();
        intake.message(topic, Message { bytes, fields: None });
    }

    fn subscribed(&mut self, answer: &SubAck, intake: &mut dyn Intake) {
        intake.control(None);
        let Some(at) = self.open.iter().position(|asked| asked.packet == answer.pkid) else { return };
        let Some(asked) = self.open.remove(at) else { return };
        for (topic, code) in asked.topics.iter().zip(&answer.return_codes) {
            match code {
                SubscribeReasonCode::Success(_) if self.carried.contains(topic) => intake.acknowledged(*topic),
                SubscribeReasonCode::Success(_) => {}
                SubscribeReasonCode::Failure => {
                    self.carried.retain(|other| other != topic);
                    intake.refused(&[*topic], "the broker refused the filter (0x80)");
                }
            }
        }
    }

    fn packet(&mut self, packet: Packet, raw: &[u8], intake: &mut dyn Intake, out: &mut Outbox) {
        match packet {
            Packet::Publish(publish) => self.publish(&publish, raw, intake, out),
            Packet::ConnAck(answer) => {
                intake.control(None);
                if answer.code == ConnectReturnCode::Success {
                    self.connected = true;
                    let waiting = std::mem::take(&mut self.waiting);
                    self.ask(&waiting, out);
                } else {
                    self.give_up(&format!("the broker refused the connection: {:?}", answer.code), intake);
                }
            }
            Packet::SubAck(answer) => self.subscribed(&answer, intake),
            Packet::UnsubAck(_) | Packet::PingResp => intake.control(None),
            _ => intake.unreadable(None, "a packet that only clients send, or that answers nothing of ours", raw),
        }
    }

    fn give_up(&mut self, reason: &str, intake: &mut dyn Intake) {
        self.broken = true;
        self.buffer = BytesMut::new();
        intake.broken(reason);
    }
}

impl Session for MqttSession {
    fn bound_messages(&mut self, bytes_max: usize) {
        self.packet_bytes_max = bytes_max;
    }

    fn opened(&mut self, name: &str, greeting: &[String], out: &mut Outbox) {
        let client_id = match &self.settings.client_id {
            // The name ends with the number of the link.
            Some(own) => format!("{own}-{}", name.get(18..).unwrap_or(name)),
            None => name.to_owned(),
        };
        let mut connect = Connect::new(client_id);
        connect.keep_alive = u16::try_from(self.settings.keep_alive.as_secs()).unwrap_or(u16::MAX);
        connect.clean_session = self.settings.clean_session;
        if let Some(username) = greeting.first() {
            connect.set_login(username, greeting.get(1).map_or("", String::as_str));
        }
        send(&Packet::Connect(connect), out);
    }

    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        let new = topics.iter().filter(|topic| !self.carried.contains(topic));
        let new: Vec<TopicId> = new.copied().collect();
        self.carried.extend(new);
        self.known.clear();
        self.stray.retain(|topic| !topics.contains(topic));
        if self.connected {
            self.ask(topics, out);
        } else {
            self.waiting.retain(|topic| !topics.contains(topic));
            self.waiting.extend(topics);
        }
    }

    fn unsubscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        self.known.clear();
        self.carried.retain(|topic| !topics.contains(topic));
        self.waiting.retain(|topic| !topics.contains(topic));
        let ended = topics.iter().filter(|topic| !self.stray.contains(topic));
        let ended: Vec<TopicId> = ended.copied().collect();
        self.stray.extend(ended);
        if self.connected {
            self.end(topics, out);
        }
    }

    fn adopt(&mut self, topics: &Arc<[Topic]>, _plan: &ReadingPlan) {
        self.topics = Arc::clone(topics);
        self.known.clear();
    }

    fn keep_alive(&mut self, out: &mut Outbox) {
        send(&Packet::PingReq, out);
    }

    fn take_receipts(&mut self) -> Vec<Receipt> {
        std::mem::take(&mut self.receipts)
    }

    fn durable(&mut self, receipts: &[Receipt], out: &mut Outbox) {
        let mut bytes = BytesMut::new();
        for receipt in receipts {
            let packet = PubAck::new(u16::try_from(receipt.0).unwrap_or_default());
            packet.write(&mut bytes).expect("four bytes are no packet that is too long");
        }
        out.push(OutFrame::Binary(bytes.to_vec()));
    }

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        let bytes = match frame {
            Frame::Binary(bytes) => bytes,
            Frame::Text(text) => return intake.unreadable(None, "a text frame; MQTT has none", text.as_bytes()),
        };
        if self.broken {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        loop {
            let length = match check(self.buffer.iter(), self.packet_bytes_max) {
                Ok(header) => header.frame_length(),
                Err(Error::InsufficientBytes(_)) => return,
                Err(Error::PayloadSizeLimitExceeded(_)) => {
                    let reason = too_long("packet", self.packet_bytes_max);
                    intake.unreadable(None, &reason, bytes);
                    return self.give_up(&reason, intake);
                }
                Err(error) => {
                    intake.unreadable(None, &error.to_string(), bytes);
                    return self.give_up(&format!("it broke the MQTT protocol: {error}"), intake);
                }
            };
            let mut packet = self.buffer.split_to(length);
            let raw = packet.clone().freeze();
            match Packet::read(&mut packet, self.packet_bytes_max) {
                Ok(packet) => self.packet(packet, &raw, intake, out),
                Err(error) => intake.unreadable(None, &format!("no MQTT packet: {error}"), &raw),
            }
            if self.broken || self.buffer.is_empty() {
                return;
            }
        }
    }
}

/// Packets of ours are far below any limit: what could be too long was checked with the topics.
fn send(packet: &Packet, out: &mut Outbox) {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, MESSAGE_BYTES_MAX).expect("a topic has at most 65,535 bytes, and a request few of them");
    out.push(OutFrame::Binary(bytes.to_vec()));
}
