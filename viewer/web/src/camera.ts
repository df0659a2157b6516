// The visitor's own camera, and sending it to the server.

import { connect, type Endpoint, type Session } from "./signalling";

const WISHES: MediaStreamConstraints = {
  audio: false,
  video: {
    width: { ideal: 640 },
    height: { ideal: 480 },
    frameRate: { ideal: 30 },
    facingMode: "user",
  },
};

export class CameraError extends Error {}

/** Asks for the camera; throws a CameraError that says what to do. */
export async function openCamera(): Promise<MediaStream> {
  if (!navigator.mediaDevices) {
    throw new CameraError(
      "The browser gives a camera only to https pages and to localhost. You can still watch.",
    );
  }
  try {
    return await navigator.mediaDevices.getUserMedia(WISHES);
  } catch (error) {
    throw new CameraError(reasonFor(error instanceof DOMException ? error.name : ""));
  }
}

function reasonFor(name: string): string {
  switch (name) {
    case "NotAllowedError":
      return "The camera was refused. Allow it in the address bar and try again, or just watch.";
    case "NotFoundError":
      return "There is no camera on this device. You can still watch.";
    case "NotReadableError":
      return "The camera is used by another program. Close that one and try again.";
    default:
      return "The camera cannot be opened. You can still watch.";
  }
}

/** Sends the picture to a WHIP endpoint; calls `lost` whenever the connection breaks. */
export async function publish(
  stream: MediaStream,
  endpoint: Endpoint,
  lost: () => void,
): Promise<Session> {
  const peer = new RTCPeerConnection();
  for (const track of stream.getVideoTracks()) {
    track.contentHint = "motion"; // a fluent picture matters more than a sharp one
    peer.addTransceiver(track, { direction: "sendonly", streams: [stream] });
  }
  peer.addEventListener("connectionstatechange", () => {
    if (peer.connectionState === "failed" || peer.connectionState === "disconnected") lost();
  });
  try {
    return await connect(peer, endpoint);
  } catch (error) {
    peer.close();
    throw error;
  }
}
