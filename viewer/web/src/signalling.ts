// WHIP (RFC 9725) and WHEP: one offer, one answer, over one HTTP request; no trickle.

const ICE_PATIENCE_MS = 2000;

export class SignallingError extends Error {}

/** Where to connect, and the bearer token where the server wants one. */
export interface Endpoint {
  url: string;
  token: string | null;
}

/** A connection that the server has accepted. */
export interface Session {
  /** The last part of its URL, which only this page knows; empty where there is none. */
  readonly id: string;
  /** Tells the server and closes the connection; never throws. */
  close(): Promise<void>;
}

/** Connects `peer` to a WHIP or WHEP endpoint; throws a SignallingError with one sentence. */
export async function connect(peer: RTCPeerConnection, endpoint: Endpoint): Promise<Session> {
  await peer.setLocalDescription(await peer.createOffer());
  await gatheringComplete(peer);
  const response = await post(endpoint, peer.localDescription?.sdp ?? "");
  const location = response.headers.get("Location");
  await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
  const resource = location === null ? null : new URL(location, document.baseURI);
  return {
    id: resource?.pathname.split("/").at(-1) ?? "",
    async close() {
      peer.close();
      if (resource === null) return;
      const request = { method: "DELETE", headers: authorization(endpoint), keepalive: true };
      await fetch(resource, request).catch(() => undefined);
    },
  };
}

async function post(endpoint: Endpoint, offer: string): Promise<Response> {
  const headers = { "Content-Type": "application/sdp", ...authorization(endpoint) };
  const response = await fetch(endpoint.url, { method: "POST", headers, body: offer }).catch(() => {
    throw new SignallingError("The server does not answer.");
  });
  if (response.status === 201) return response;
  const reason = (await response.text().catch(() => "")).split("\n", 1)[0].slice(0, 200);
  throw new SignallingError(`The server refused the connection: ${reason || response.status}.`);
}

function authorization({ token }: Endpoint): Record<string, string> {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

/** Resolves once all local candidates are known, or after a while without the slow ones. */
function gatheringComplete(peer: RTCPeerConnection): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ICE_PATIENCE_MS);
    const check = () => {
      if (peer.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    };
    peer.addEventListener("icegatheringstatechange", check);
    check();
  });
}
