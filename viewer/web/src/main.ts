// The page: asks for the camera, sends it by WHIP, and shows the avatar that comes back by WHEP.

import { Broadcast } from "./broadcast";
import { LiveAvatar } from "./live_avatar";
import { Page } from "./page";
import { Stage } from "./stage";

const fragment = new URLSearchParams(location.hash.slice(1)); // not sent to the server, nor logged
const token = fragment.get("token");
const WHIP = { url: "whip", token };
const WHEP = { url: "whep", token };

function start(page: Page): void {
  const stage = new Stage(page.canvas);
  const { identity } = page;
  const say = (sentence: string) => page.status(sentence);
  const avatar = new LiveAvatar(stage, WHEP, say, (news) => identity.show(news));
  const showCamera = (stream: MediaStream | null) => {
    page.showCamera(stream);
    identity.setOwner(stream !== null);
  };
  const camera = new Broadcast(WHIP, showCamera, say);

  const watch = () => {
    page.enter();
    void avatar.start();
  };
  const send = async () => {
    page.problem("");
    try {
      await camera.start();
      page.setMirrored(true);
      watch();
    } catch (error) {
      page.problem((error as Error).message);
    }
  };

  page.onWatch(watch);
  page.onSendCamera(() => void send());
  page.onStopCamera(() => void camera.stop());
  identity.onEdit((edit) => avatar.edit({ ...edit, camera: camera.key }));
  page.onFraming((framing) => stage.frame(framing));
  page.onMirror((mirrored) => avatar.setMirrored(mirrored));
  stage.start(() => avatar.beforeDraw());
  setInterval(() => page.statistics(avatar.review()), 1000);
  addEventListener("pagehide", () => void camera.stop());

  if (new URLSearchParams(location.search).has("watch")) watch();
}

const page = new Page();
try {
  start(page);
} catch (error) {
  page.problem((error as Error).message);
}
