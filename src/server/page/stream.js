// Events as they become durable. An EventSource cannot show a token, so each connection has a ticket of its own, which is worth
// nothing once it is used; that is why the browser's own reconnecting, with the used ticket, is not what is relied on.

import { post, Refused } from "./api.js";

const WAIT_MIN = 1000;
const WAIT_MAX = 15000;

/// Follows `query` until `close()`. `on.event(text)` is given each event as it came, `on.state(word, why)` how the stream is.
export class Stream {
  constructor(query, on) {
    this.query = query;
    this.on = on;
    this.wait = WAIT_MIN;
    this.closed = false;
    this.open();
  }

  async open() {
    clearTimeout(this.timer);
    if (this.closed) return;
    this.on.state("connecting");
    let ticket;
    try {
      ({ ticket } = await post("/v1/stream-tickets"));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.later(error.message);
      return;
    }
    if (this.closed) return;
    const source = new EventSource(`/v1/sse/events?${new URLSearchParams({ ...this.query, ticket })}`);
    this.source = source;
    source.addEventListener("initial", (message) => {
      this.wait = WAIT_MIN;
      this.on.state("open");
      this.on.initial?.(JSON.parse(message.data));
    });
    source.addEventListener("event", (message) => this.on.event(message.data));
    source.addEventListener("dropped", (message) => this.on.dropped?.(JSON.parse(message.data)));
    source.addEventListener("closed", (message) => this.later(JSON.parse(message.data).reason));
    source.onerror = () => this.later("the stream broke off");
  }

  later(why) {
    this.source?.close();
    this.source = null;
    if (this.closed) return;
    this.on.state("closed", why);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(this.wait * 2, WAIT_MAX);
  }

  /// Tries now, not when it is due.
  hurry() {
    if (!this.source && !this.closed) this.open();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }
}
