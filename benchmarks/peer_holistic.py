"""MediaPipe Holistic's rate on one video, printed as JSON. Runs in an environment of its own.

MediaPipe 0.10.21 pins numpy < 2, so this file imports nothing of the project. It finds landmarks
alone, without a mesh: the engine does strictly more work per frame. With ``landmarks`` it prints
the body's metric points instead of the rate: (FRAMES, 33, 3) metres, y down, null where unseen.

    python peer_holistic.py VIDEO FRAMES [landmarks]
"""

import json
import sys
import time

import cv2
import mediapipe as mp
import numpy as np

WARM_UP_FRAMES = 5


def rgb_frames(path, count):
    """The first ``count`` pictures of a video, starting over where it is shorter."""
    frames = []
    capture = cv2.VideoCapture(path)
    while len(frames) < count:
        ok, bgr = capture.read()
        if not ok:
            break
        frames.append(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    if not frames:
        raise SystemExit(f"{path} has no pictures")
    return [frames[i % len(frames)] for i in range(count)]


def world_points(result):
    """33 metric points, or nothing."""
    if result.pose_world_landmarks is None:
        return None
    return [[p.x, p.y, p.z] for p in result.pose_world_landmarks.landmark]


def main():
    """Time every frame after the warm-up; decoding is not counted in the peer's disfavour."""
    path, count = sys.argv[1], int(sys.argv[2])
    holistic = mp.solutions.holistic.Holistic(model_complexity=1, refine_face_landmarks=True)
    if "landmarks" in sys.argv[3:]:
        found = [world_points(holistic.process(rgb)) for rgb in rgb_frames(path, count)]
        print(json.dumps({"frames": count, "world_m": found}))
        return
    milliseconds = []
    for rgb in rgb_frames(path, count):
        started = time.perf_counter()
        holistic.process(rgb)
        milliseconds.append((time.perf_counter() - started) * 1e3)
    timed = np.array(milliseconds[WARM_UP_FRAMES:])
    print(json.dumps({"frames": count, "fps": float(1e3 / timed.mean())}))


if __name__ == "__main__":
    main()
