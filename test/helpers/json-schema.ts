/** The schema of what `--json` prints. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'vitest';
import { ROOT } from './temp.js';

const SCHEMA = JSON.parse(readFileSync(join(ROOT, 'schema/json-1.schema.json'), 'utf8')) as {
  $id: string;
  $defs: Record<string, object>;
};
const ajv = new Ajv2020({ allErrors: true, strict: true, strictRequired: false });
ajv.addSchema(SCHEMA);

/** Names of all definitions. */
export const DEFINITIONS = Object.keys(SCHEMA.$defs);

/** Throws for a definition that is no schema. */
export const validatorOf = (definition: string) =>
  ajv.compile({ $ref: `${SCHEMA.$id}#/$defs/${encodeURIComponent(definition)}` });

/** Those in use: making one takes long. */
const validators = new Map<string, ReturnType<typeof validatorOf>>();

/** Expects a value as the schema has it. */
export function expectFits(definition: string, value: unknown): void {
  const validate = validators.get(definition) ?? validatorOf(definition);
  validators.set(definition, validate);
  validate(value);
  expect(validate.errors ?? []).toEqual([]);
}

/** The values of lines of JSON. */
export const jsonLines = <T = unknown>(text: string): T[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

/** Expects that each line fits, and that these are the events. */
export function expectEvents(definition: string, text: string, events: readonly string[]): void {
  const lines = jsonLines(text);
  for (const line of lines) expectFits(definition, line);
  expect(lines.map((line) => (line as { event: string }).event)).toEqual(events);
}
