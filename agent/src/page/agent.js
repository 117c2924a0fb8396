// What the agent says: its state when it is asked for, and events as they come. Where it says nothing, it is asked again.

// It says how it is each second.
const SILENT_AFTER = 5000;
const RETRY_FIRST = 500;
const RETRY_MOST = 5000;
const KEPT_TOKEN = "palisade-token";
// Flows of before that are asked for.
const LAST = 500;

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export class Refused extends Error {}

/** The agent that served the page. `listener` has a method for each event: connected, disconnected, refused, flow, missed, status. */
export class Agent {
  constructor(listener) {
    this.listener = listener;
    this.token = sessionStorage.getItem(KEPT_TOKEN);
    this.isStopped = false;
  }

  useToken(token) {
    this.token = token;
    sessionStorage.setItem(KEPT_TOKEN, token);
  }

  async request(path, signal, body) {
    const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const question = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
    const response = await fetch(path, { headers, signal, ...question, cache: "no-store", redirect: "error", referrerPolicy: "no-referrer" });
    if (response.ok) return response;
    const why = (await response.text()).trim() || `the agent answered ${response.status}`;
    throw response.status === 401 || response.status === 403 ? Object.assign(new Refused(why), { status: response.status }) : new Error(why);
  }

  /** The status and the pods; of the pods nothing if they are those of the revision that is known. */
  async state(known) {
    return (await this.request(`/api/v1/state${known === null ? "" : `?known=${known}`}`)).json();
  }

  async explain(question) {
    return (await this.request(`/api/v1/explain?${new URLSearchParams(question)}`)).json();
  }

  async lint() {
    return (await this.request("/api/v1/lint")).json();
  }

  async policy(name) {
    return (await this.request(`/api/v1/policy?${new URLSearchParams({ name })}`)).json();
  }

  /** Who may reach a pod, and whom it may reach. */
  async reach(name) {
    return (await this.request(`/api/v1/reach?${new URLSearchParams({ name })}`)).json();
  }

  /** What an edit would change: `what_if`, or `refused` with what is wrong with it. */
  async whatIf(proposal) {
    return (await this.request("/api/v1/what-if", undefined, proposal)).json();
  }

  /** Listens for as long as the page is there. */
  async listen() {
    let pause = RETRY_FIRST;
    for (;;) {
      let why = "the agent ended the stream";
      try {
        await this.follow(() => (pause = RETRY_FIRST));
      } catch (error) {
        if (error instanceof Refused) {
          await this.listener.refused(error);
          continue;
        }
        why = error.name === "AbortError" ? "the agent is silent" : error.message;
      }
      this.listener.disconnected(why);
      await wait(pause);
      pause = Math.min(pause * 2, RETRY_MOST);
    }
  }

  async follow(connected) {
    const abort = new AbortController();
    let silent = setTimeout(() => abort.abort(), SILENT_AFTER);
    try {
      const response = await this.request(`/api/v1/flows?last=${LAST}`, abort.signal);
      // Of the agent's clock before this one's, in milliseconds.
      const date = Date.parse(response.headers.get("date"));
      this.listener.connected(isNaN(date) ? 0 : date - Date.now());
      connected();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(silent);
        silent = setTimeout(() => abort.abort(), SILENT_AFTER);
        const events = (text + value).split("\n\n");
        text = events.pop();
        events.forEach((event) => this.take(event));
      }
    } finally {
      clearTimeout(silent);
      abort.abort();
    }
  }

  /** An event of a stream: lines of a field, a colon and a value. */
  take(event) {
    let [kind, data] = ["message", ""];
    for (const line of event.split("\n")) {
      if (line.startsWith("event: ")) kind = line.slice(7);
      else if (line.startsWith("data: ")) data += line.slice(6);
    }
    if (["flow", "missed", "status"].includes(kind)) this.listener[kind](JSON.parse(data));
  }
}
