/** Checks each file in files.img: it has the message of its type and id, with values that a restore accepts. */
import type { Messages } from '../generated/entries.js';
import type { CheckedDump } from './checked-dump.js';
import { eachFile, type FileEntry, messageOf } from './file-ids.js';
import type { Survey } from './survey.js';
import { ValueCheck } from './values.js';

type Owner = Messages['fown_entry'];

/** Of open(2), on all machines: the access, and O_CREAT to O_TMPFILE. */
const OPEN_FLAGS = 0x7fffc3;
const LAST_SIGNAL = 64;
/** F_OWNER_TID, PID, PGRP. */
const OWNER_TYPES = [0, 1, 2];
const MAX_POSITION = 2n ** 63n - 1n;
/** CLOCK_REALTIME, MONOTONIC, BOOTTIME, and the first and last with alarm. */
const TIMERFD_CLOCKS = [0, 1, 7, 8, 9];
const LAST_NANOSECOND = 999_999_999n;
/** A restore hands over 32 bits. */
const MAX_EVENTS = 2n ** 32n - 1n;

export function checkFileValues(dump: CheckedDump, survey: Survey): void {
  const owners = new Set([0]);
  for (const { pid, pgid, threads } of survey.tasks) for (const id of [pid, pgid, ...threads]) owners.add(id);
  eachFile(dump, (file, image, entry) => {
    const message = messageOf(file);
    if (message === undefined) {
      const other = typeof file.type === 'number' ? 'its type is unknown' : `it says nothing of a ${file.type}`;
      dump.error('ID_MISMATCH', image, `file ${file.id}: ${other}`, { entry });
      return;
    }
    if (message.id !== file.id) {
      dump.error('ID_MISMATCH', image, `expected id ${file.id} in its message as well, found ${message.id}`, { entry });
    }
    const values = new ValueCheck(dump, image, entry);
    values.onlyBits('flags', message.flags, OPEN_FLAGS);
    values.between('a position', message.pos, 0n, MAX_POSITION);
    if (message.fown) checkOwner(values, message.fown, owners);
    checkOne(values, file);
  });
}

function checkOwner(values: ValueCheck, { pid, pid_type: type, signum }: Owner, owners: ReadonlySet<number>): void {
  values.oneOf('pid_type', type, OWNER_TYPES);
  values.between('signum', signum, 0, LAST_SIGNAL);
  values.mustNot(!owners.has(pid), `its signals go to ${pid}, which is no process or group of the dump`);
}

function checkOne(values: ValueCheck, { reg, efd, tfd, ify }: FileEntry): void {
  if (reg)
    values.mustNot(!reg.name.startsWith('/'), `expected a path from the root, found ${JSON.stringify(reg.name)}`);
  if (efd) values.between('a counter', efd.counter, 0n, MAX_EVENTS);
  if (tfd) {
    values.oneOf('clockid', tfd.clockid, TIMERFD_CLOCKS);
    for (const nanoseconds of [tfd.vnsec, tfd.insec]) values.between('nanoseconds', nanoseconds, 0n, LAST_NANOSECOND);
  }
  for (const { wd, mask } of ify?.wd ?? []) {
    values.must(wd > 0, 'the number of a watch', wd);
    values.mustNot(mask === 0, `watch ${wd} is for no event`);
  }
}
