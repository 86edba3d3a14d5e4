/** Checks the credentials of a thread. */
import type { Messages } from '../generated/entries.js';
import type { ValueCheck } from './values.js';

/** Of 32 bits each. Source: _LINUX_CAPABILITY_U32S_3. */
const CAPABILITY_WORDS = 2;
/** Those of Linux 6.14 among them. */
const SECURE_BITS = 0xfff;

/** @param lsmtype the security module that the dump was made under */
export function checkCredentials(
  values: ValueCheck,
  creds: Messages['creds_entry'],
  lsmtype: Messages['inventory_entry']['lsmtype'],
): void {
  const { cap_prm: permitted = [], cap_eff: effective = [], lsm_profile: profile } = creds;
  for (const name of ['cap_inh', 'cap_prm', 'cap_eff', 'cap_bnd'] as const) {
    const words = creds[name]?.length ?? 0;
    values.must(words === CAPABILITY_WORDS, `${CAPABILITY_WORDS} numbers in ${name}`, words);
  }
  const isPermitted = effective.every((bits, i) => (bits & ~(permitted[i] ?? 0)) === 0);
  values.mustNot(!isPermitted, 'a capability is in effect that is not permitted');
  values.onlyBits('secbits', creds.secbits, SECURE_BITS);
  const hasModule = lsmtype !== undefined && lsmtype !== 'NO_LSM';
  values.mustNot(
    profile !== undefined && !hasModule,
    `it has the profile ${JSON.stringify(profile)}, but inventory.img names no security module`,
  );
}
