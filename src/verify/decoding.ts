/**
 * Checks that every image can be decoded to its end, with extras and payloads, and has no unknown fields and values. Pagemaps
 * are checked by memory.ts, together with their pages files.
 */

import { readFully } from '../bytes.js';
import { isOfNobody } from '../dump/leftovers.js';
import type { ImageHandler, RawMessage } from '../image/decoder.js';
import { firstMessage } from '../image/grammar.js';
import { firstMagic, headerBytes, type ImageType, MAGIC, typeOfName } from '../image/magic.js';
import { counted } from '../printable.js';
import { withArticle } from '../protobuf/builder.js';
import { canonicalMessage } from '../protobuf/canonical.js';
import { type FieldDescriptor, KIND, type MessageDescriptor } from '../protobuf/descriptor.js';
import { WireReader } from '../protobuf/wire.js';
import type { CheckedDump } from './checked-dump.js';
import { checkOriginals } from './cold.js';
import type { Survey } from './survey.js';

/** Images that have at least one entry, in older dumps as well. One that ends after its magic was cut off. */
const NEVER_EMPTY: ReadonlySet<ImageType> = new Set([
  ...([
    'INVENTORY',
    'PSTREE',
    'CORE',
    'IDS',
    'MM',
    'FS',
    'FILES',
    'SECCOMP',
    'TCP_STREAM',
    'AUTOFS',
    'GHOST_FILE',
  ] as const),
  ...(['UTSNS', 'IPC_VAR', 'NETNS', 'NETDEV', 'MNTS', 'USERNS', 'PIDNS', 'TIMENS'] as const),
]);

/** Decodes all images of the dump whose names are those of images. */
export function checkImages(dump: CheckedDump, { tasks, inventory }: Survey): void {
  checkOriginals(dump);
  const ids = new Set(tasks.flatMap(({ pid, threads }) => [pid, ...threads]));
  for (const name of dump.sizes.keys()) {
    const type = typeOfName(name);
    if (!type) continue;
    checkMagics(dump, name, type, inventory?.img_version ?? 0);
    if (type === 'PAGEMAP') continue;
    const handler = new CheckingHandler(dump, name);
    if (!dump.decode(name, handler, isOfNobody(name, ids) ? 'warning' : 'error')) continue;
    if (handler.entries > 0 || !NEVER_EMPTY.has(type)) continue;
    dump.error('TRUNCATED', name, `expected ${withArticle(firstMessage(type))}, found the end of the file`, {
      offset: headerBytes(type),
    });
  }
}

/** CRIU reads all images of a dump as the inventory says: of version 1 with the magic of their type alone. */
function checkMagics(dump: CheckedDump, name: string, type: ImageType, version: number): void {
  if (version === 0 || type === 'INVENTORY' || !dump.isSound(name)) return;
  const start = new Uint8Array(4);
  if (!dump.attempt(name, () => readFully((part, at) => dump.files.readSome(name, part, at), start, 0))) return;
  const first = new DataView(start.buffer).getUint32(0, true);
  const found = first === MAGIC[type] ? 1 : first === firstMagic(type) ? 2 : 0;
  const expected = version === 1 ? 1 : 2;
  if (found === 0 || found === expected) return;
  const message = `expected ${counted(expected, 'magic number')} in a dump of img_version ${version}, found ${found}`;
  dump.error('WRONG_MAGIC', name, message, { offset: 0 });
}

/** Converts every message to canonical form, which fails for a damaged one, and reports unknown fields and values. */
class CheckingHandler implements ImageHandler {
  entries = 0;
  /** Fields that were reported: an unknown one may be in every entry. */
  private readonly reported = new Set<string>();

  constructor(
    private readonly dump: CheckedDump,
    private readonly name: string,
  ) {}

  entry(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    this.entries++;
    this.check({ descriptor, bytes, start, end });
  }

  message(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    this.check({ descriptor, bytes, start, end });
  }

  private check({ descriptor, bytes, start, end }: RawMessage): void {
    const canonical = canonicalMessage(descriptor, bytes, start, end);
    this.walk(descriptor, new WireReader().over(canonical.bytes, canonical.start, canonical.end));
  }

  /** Goes through a message in canonical form: its depth was checked on the way there. */
  private walk(descriptor: MessageDescriptor, reader: WireReader): void {
    while (reader.nextTag()) {
      const { number } = reader;
      const field = descriptor.byNumber[number];
      if (field?.wireType !== reader.wireType) {
        reader.skip();
        this.tell(
          'UNKNOWN_FIELD',
          descriptor,
          number,
          `known fields only, found field ${number} of ${descriptor.name}`,
        );
      } else if (field.kind === KIND.MESSAGE) {
        const { end: outer } = reader;
        reader.end = reader.length();
        this.walk(field.message, reader);
        reader.end = outer;
      } else if (field.kind === KIND.ENUM) {
        const end = field.packed ? reader.length() : 0;
        do this.enumValue(descriptor, field, reader);
        while (reader.at < end);
      } else {
        reader.skip();
      }
    }
  }

  private enumValue(descriptor: MessageDescriptor, field: FieldDescriptor, reader: WireReader): void {
    reader.varint();
    const value = reader.lo | 0;
    if (field.names?.[value] !== undefined) return;
    this.tell('UNKNOWN_VALUE', descriptor, field.number, `a known ${field.name} of ${descriptor.name}, found ${value}`);
  }

  private tell(
    code: 'UNKNOWN_FIELD' | 'UNKNOWN_VALUE',
    descriptor: MessageDescriptor,
    field: number,
    expected: string,
  ): void {
    const key = `${descriptor.name} ${field}`;
    if (this.reported.has(key)) return;
    this.reported.add(key);
    this.dump.warning(code, this.name, `expected ${expected}`, { entry: this.entries - 1 });
  }
}
