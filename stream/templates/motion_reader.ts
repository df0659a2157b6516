/** A packet or message that the protocol does not allow. */
export class ProtocolError extends Error {}

/** One frame's pose and expression. Space is glTF's: Y up, metres, quaternions xyzw. */
export interface AvatarState {
  index: number;
  identityVersion: number;
  /** Milliseconds of the sender's monotonic clock. */
  capturedAtMs: number;
  /** JOINT_COUNT unit quaternions, xyzw, relative to the parent, in avatar axes. */
  rotations: Float32Array;
  /** Metres, added to every posed vertex. */
  translation: [number, number, number];
  /** ARKIT_NAMES.length numbers in [0, 1]. */
  expression: Float32Array;
  camera: { focalPx: number; cx: number; cy: number; width: number; height: number };
  /** Body, face, left hand, right hand in [0, 1]. */
  confidences: number[];
}

export interface MotionPacket {
  sequence: number;
  state: AvatarState;
  /** The frame of packet `sequence - 1`, in case that one is lost. */
  previous: AvatarState | null;
}

/** Reads unsigned integers of up to 15 bits, lowest bit first; zeros after the end. */
class BitReader {
  position = 0;

  constructor(private readonly bytes: Uint8Array) {}

  read(width: number): number {
    let value = 0;
    for (let bit = 0; bit < width; bit++, this.position++) {
      const byte = this.bytes[this.position >> 3] ?? 0;
      value |= ((byte >> (this.position & 7)) & 1) << bit;
    }
    return value;
  }

  readSigned(width: number): number {
    const value = this.read(width);
    return width > 0 && value >> (width - 1) ? value - 2 ** width : value;
  }
}

/** Joints and expressions as whole numbers, at rest until they are read. */
class Numbers {
  readonly largest = new Uint8Array(JOINT_COUNT).fill(3);
  readonly components = new Int32Array(3 * JOINT_COUNT);
  readonly expression = new Int32Array(ARKIT_NAMES.length);
}

function jointLimit(joint: number): number {
  return 2 ** (JOINT_BITS[joint]! - 1) - 1;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

function readJoint(bits: BitReader, joint: number, into: Numbers): void {
  const limit = jointLimit(joint);
  into.largest[joint] = bits.read(2);
  for (let k = 3 * joint; k < 3 * joint + 3; k++) {
    const value = bits.read(JOINT_BITS[joint]!) - limit;
    if (value > limit) throw new ProtocolError("a rotation is out of range");
    into.components[k] = value;
  }
}

function readCurrent(bits: BitReader, active: number[]): Numbers {
  const now = new Numbers();
  for (let joint = 0; joint < JOINT_COUNT; joint++) if (bits.read(1)) active.push(joint);
  for (const joint of active) readJoint(bits, joint, now);
  for (let k = 0; k < now.expression.length; k++) now.expression[k] = bits.read(EXPRESSION_BITS);
  return now;
}

function readPrevious(bits: BitReader, shift: number, active: number[], now: Numbers): Numbers {
  const then = new Numbers();
  for (const joint of active) {
    const width = bits.read(WIDTH_BITS);
    if (width === ABSOLUTE_WIDTH) {
      readJoint(bits, joint, then);
      continue;
    }
    const limit = jointLimit(joint);
    then.largest[joint] = now.largest[joint]!;
    for (let k = 3 * joint; k < 3 * joint + 3; k++) {
      const delta = bits.readSigned(width) * 2 ** shift;
      then.components[k] = clamp(now.components[k]! + delta, -limit, limit);
    }
  }
  for (let first = 0; first < then.expression.length; first += EXPRESSION_BLOCK) {
    const width = bits.read(WIDTH_BITS);
    for (let k = first; k < first + EXPRESSION_BLOCK; k++) {
      const value = now.expression[k]! + bits.readSigned(width);
      then.expression[k] = clamp(value, 0, 2 ** EXPRESSION_BITS - 1);
    }
  }
  return then;
}

/** Smallest three: the largest component is positive and follows from the unit norm. */
function rotationsOf(numbers: Numbers): Float32Array {
  const rotations = new Float32Array(4 * JOINT_COUNT);
  for (let joint = 0; joint < JOINT_COUNT; joint++) {
    const unit = Math.SQRT1_2 / jointLimit(joint);
    const largest = numbers.largest[joint]!;
    let squares = 0;
    for (let axis = 0, k = 3 * joint; axis < 4; axis++) {
      if (axis === largest) continue;
      const value = numbers.components[k++]! * unit;
      rotations[4 * joint + axis] = value;
      squares += value * value;
    }
    rotations[4 * joint + largest] = Math.sqrt(Math.max(0, 1 - squares));
    const scale = squares > 1 ? 1 / Math.sqrt(squares) : 1;
    for (let k = 4 * joint; k < 4 * joint + 4; k++) rotations[k]! *= scale;
  }
  return rotations;
}

function stateOf(header: MotionHeader, numbers: Numbers, back: PreviousHeader | null): AvatarState {
  const units = header.translation.map((value, k) => value + (back ? back.translationDelta[k]! : 0));
  const [x, y, z] = units.map((value) => value * TRANSLATION_UNIT_M) as [number, number, number];
  return {
    index: header.index - (back ? back.indexBack : 0),
    identityVersion: header.identityVersion,
    capturedAtMs: (header.capturedAtNs - (back ? back.capturedBackNs : 0)) / 1e6,
    rotations: rotationsOf(numbers),
    translation: [x, y, z],
    expression: Float32Array.from(numbers.expression, (e) => e / (2 ** EXPRESSION_BITS - 1)),
    camera: {
      focalPx: header.focalPx,
      cx: header.cx,
      cy: header.cy,
      width: header.width,
      height: header.height,
    },
    confidences: (back ?? header).confidences.map((value) => value / 255),
  };
}

function checkHeader(header: MotionHeader): void {
  if (header.magic !== MOTION_MAGIC) throw new ProtocolError("not a motion packet");
  if (header.version !== PROTOCOL_VERSION) {
    throw new ProtocolError(`protocol ${header.version} instead of ${PROTOCOL_VERSION}: reload`);
  }
  if (header.flags & ~FLAG_PREVIOUS) throw new ProtocolError("unknown flags");
  const { focalPx, cx, cy } = header;
  if (!(focalPx > 0) || ![focalPx, cx, cy].every(Number.isFinite)) {
    throw new ProtocolError("impossible camera");
  }
}

function checkPrevious(header: MotionHeader, back: PreviousHeader): void {
  const possible = back.indexBack > 0 && back.indexBack <= header.index;
  if (!possible || back.shift > MAX_SHIFT || back.capturedBackNs > header.capturedAtNs) {
    throw new ProtocolError("impossible previous frame");
  }
}

/** Reads an untrusted motion packet, or throws a ProtocolError. */
export function decodeMotion(data: Uint8Array): MotionPacket {
  if (data.length > MOTION_MAX_BYTES) throw new ProtocolError("the packet is too long");
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const header = readMotionHeader(view, 0);
  checkHeader(header);
  const back = header.flags & FLAG_PREVIOUS ? readPreviousHeader(view, MOTION_HEADER_BYTES) : null;
  if (back) checkPrevious(header, back);
  const start = MOTION_HEADER_BYTES + (back ? PREVIOUS_HEADER_BYTES : 0);
  const bits = new BitReader(data.subarray(start));
  const active: number[] = [];
  const now = readCurrent(bits, active);
  const then = back ? readPrevious(bits, back.shift, active, now) : null;
  if (start + Math.ceil(bits.position / 8) !== data.length) {
    throw new ProtocolError("the packet has the wrong length");
  }
  return {
    sequence: header.sequence,
    state: stateOf(header, now, null),
    previous: then && stateOf(header, then, back),
  };
}
