/**
 * Patterns of secrets: private keys, tokens whose form shows what they are, and passwords where the text before them says so.
 * Each has letters or digits that are in every match, so a search for all of them is still fast.
 */
import { AnyOf } from './matcher.js';
import { Regex } from './regex.js';

/** A character of a value in text, in the environment and in JSON. */
const VALUE = `[^\\x00-\\x20"'&;,<>\\x7f-\\xff]`;
/** The same of a name or password in a URL. */
const URL_PART = `[^\\x00-\\x20"'<>:@/\\x7f-\\xff]`;

/** By kind. */
const SECRETS: Readonly<Record<string, string>> = {
  'private-key':
    '-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:[\\w+/=:,.\\- \\r\\n]*?-----END [A-Z0-9 ]*-----)?',
  'openssh-key': 'openssh-key-v1\\x00',
  'aws-key': '\\b(?:AKIA|ASIA)[0-9A-Z]{16}\\b',
  'github-token': '\\b(?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_\\w{22,})',
  'gitlab-token': '\\bglpat-[\\w-]{20,}',
  'slack-token': '\\bxox[abeprs]-[0-9A-Za-z-]{10,}',
  'google-api-key': '\\bAIza[\\w-]{35}',
  'google-oauth-token': '\\bya29\\.[\\w-]{20,}',
  'stripe-key': '\\b[rs]k_live_[0-9A-Za-z]{16,}',
  'npm-token': '\\bnpm_[0-9A-Za-z]{36}\\b',
  jwt: '\\beyJ[\\w-]{8,}\\.eyJ[\\w-]{8,}\\.[\\w-]{8,}',
  'url-password': `\\b[A-Za-z][A-Za-z0-9+.-]{1,20}://${URL_PART}*:${URL_PART}+@[A-Za-z0-9[]`,
  'authorization-header': '(?i:authorization: ?(?:basic|bearer) )[\\w+/=.~-]{8,}',
  password: `(?i:password|passwd|passphrase|secret_key|access_key|api_?key|_token)=${VALUE}{4,}`,
};

/** The kinds of secrets that are known. */
export const SECRET_KINDS: readonly string[] = Object.keys(SECRETS);

/** Finds secrets. */
export class Secrets extends AnyOf {
  constructor() {
    super(Object.values(SECRETS).map((pattern) => new Regex(pattern)));
  }

  /** Kind of the last match. */
  get kind(): string {
    return SECRET_KINDS[this.which] as string;
  }
}
