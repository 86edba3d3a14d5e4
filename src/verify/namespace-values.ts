/** Checks the content of namespace images: host names, clocks, System V objects and their limits. */
import type { Messages } from '../generated/entries.js';
import type { ImageHandler } from '../image/decoder.js';
import { type ImageType, typeOfName } from '../image/magic.js';
import { type MessageDescriptor, messageDescriptor } from '../protobuf/descriptor.js';
import { readAnyObject } from '../protobuf/object.js';
import type { CheckedDump } from './checked-dump.js';
import { ValueCheck } from './values.js';

/** Source: __NEW_UTS_LEN. */
const MAX_NAME_BYTES = 64;
/** Half of what a clock of nanoseconds holds. Source: KTIME_SEC_MAX. */
const MAX_SECONDS = 2n ** 63n / 1_000_000_000n / 2n;
const MAX_INT = 2 ** 31 - 1;
/** SEMMSL, SEMMNS, SEMOPM, SEMMNI. */
const SEMAPHORE_LIMITS = 4;
/** Source: SEMVMX. */
const MAX_SEMAPHORE = 32767;

export function checkNamespaceValues(dump: CheckedDump): void {
  for (const name of dump.sizes.keys()) CHECKS[typeOfName(name) as ImageType]?.(dump, name);
}

const CHECKS: Partial<Record<ImageType, (dump: CheckedDump, name: string) => void>> = {
  UTSNS: (dump, name) => {
    dump.each(name, 'utsns_entry', (uts, entry) => {
      const values = new ValueCheck(dump, name, entry);
      for (const field of ['nodename', 'domainname'] as const) {
        const { length } = Buffer.from(uts[field]);
        values.must(length <= MAX_NAME_BYTES, `${field} of at most ${MAX_NAME_BYTES} bytes`, length);
      }
    });
  },
  TIMENS: (dump, name) => {
    dump.each(name, 'timens_entry', ({ monotonic, boottime }, entry) => {
      const values = new ValueCheck(dump, name, entry);
      for (const { tv_sec: seconds } of [monotonic, boottime]) {
        values.between('seconds', BigInt.asIntN(64, seconds), -MAX_SECONDS, MAX_SECONDS);
      }
    });
  },
  IPC_VAR: (dump, name) => {
    dump.each(name, 'ipc_var_entry', ({ sem_ctls: limits = [], ...values }, entry) => {
      const check = new ValueCheck(dump, name, entry);
      check.must(limits.length === SEMAPHORE_LIMITS, `${SEMAPHORE_LIMITS} numbers in sem_ctls`, limits.length);
      for (const field of ['msg_ctlmax', 'msg_ctlmnb', 'msg_ctlmni'] as const) {
        check.between(field, values[field], 0, MAX_INT);
      }
    });
  },
  IPCNS_SHM: (dump, name) => {
    const ids = new ObjectIds(dump, name);
    dump.each(name, 'ipc_shm_entry', ({ desc }, entry) => ids.add(desc, entry));
  },
  IPCNS_SEM: (dump, name) => void dump.decode(name, new Objects(dump, name)),
  IPCNS_MSG: (dump, name) => void dump.decode(name, new Objects(dump, name)),
};

/** Ids of System V objects, which must differ. */
class ObjectIds {
  private readonly ids = new Set<number>();

  constructor(
    private readonly dump: CheckedDump,
    private readonly name: string,
  ) {}

  add({ id }: Messages['ipc_desc_entry'], entry: number): void {
    if (this.ids.has(id)) this.dump.error('ID_TWICE', this.name, `object ${id} is there twice`, { entry });
    this.ids.add(id);
  }
}

/** Sets of semaphores with their values, and queues with their messages. */
class Objects implements ImageHandler {
  private readonly ids: ObjectIds;
  private entries = 0;
  /** First byte of a value that continues in the next piece. */
  private pending: number | undefined;

  constructor(
    private readonly dump: CheckedDump,
    private readonly name: string,
  ) {
    this.ids = new ObjectIds(dump, name);
  }

  entry(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    const { desc } = readAnyObject(descriptor, bytes, start, end) as unknown as Pick<Messages['ipc_sem_entry'], 'desc'>;
    this.ids.add(desc, this.entries++);
    this.pending = undefined;
  }

  message(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    if (descriptor !== messageDescriptor('ipc_msg')) return;
    const { mtype } = readAnyObject(descriptor, bytes, start, end) as unknown as Messages['ipc_msg'];
    this.values().must(mtype > 0n, 'mtype of at least 1', mtype);
  }

  bytes(bytes: Uint8Array, start: number, end: number): void {
    if (typeOfName(this.name) !== 'IPCNS_SEM') return;
    for (let at = start; at < end; at++) {
      const byte = bytes[at] as number;
      if (this.pending === undefined) {
        this.pending = byte;
      } else {
        this.values().between('a semaphore', this.pending | (byte << 8), 0, MAX_SEMAPHORE);
        this.pending = undefined;
      }
    }
  }

  private values = (): ValueCheck => new ValueCheck(this.dump, this.name, this.entries - 1);
}
