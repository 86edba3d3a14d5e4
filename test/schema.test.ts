/** The schema and the magic numbers, against the tables of what CRIU itself has. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import protobuf from 'protobufjs/light.js';
import { describe, expect, it } from 'vitest';
import { schema } from '../src/generated/schema.js';
import { IMG_COMMON_MAGIC, IMG_SERVICE_MAGIC, MAGIC, typeOfMagic, typeOfName } from '../src/image/magic.js';
import { messageType } from './helpers/message-type.js';
import { ROOT } from './helpers/temp.js';

/** The rows of a table, by the names in its first line. */
function table(name: string): Record<string, string>[] {
  const text = readFileSync(join(ROOT, 'fixtures/tables', `${name}.tsv`), 'utf8').trimEnd();
  const [columns = [], ...rows] = text.split('\n').map((line) => line.split('\t'));
  return rows.map((row) => Object.fromEntries(columns.map((column, index) => [column, row[index] ?? ''])));
}

/** CRIU's name for what proto/criu/print.proto declares; no image holds it. */
const PRINT_OPTIONS = 'CRIU_Opts';

const fieldRows = table('messages').filter(({ message }) => message !== PRINT_OPTIONS);
const enumRows = table('enums');
const magicRows = table('magics');

const members = Object.entries(schema['criu'] ?? {});
const messages = members.filter(([, member]) => 'fields' in member).map(([name]) => name);
const inPackage = (member: protobuf.ReflectionObject): string => member.fullName.replace('.criu.', '');

/** Print hints as the tables have them: `dev=true;odev=true`. */
function hintsOf(field: protobuf.Field): string {
  const options = Object.entries(field.options ?? {}).filter(([name]) => name.startsWith('(print)'));
  return options.map(([name, value]) => `${name.replace(/^\(print\)\./, '')}=${value}`).join(';');
}

function defaultOf({ options, resolvedType }: protobuf.Field): string {
  const value = options?.['default'];
  if (value === undefined) return '';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  return `${resolvedType instanceof protobuf.Enum ? resolvedType.values[value] : value}`;
}

const labelOf = (field: protobuf.Field): string =>
  field.repeated ? 'repeated' : field.required ? 'required' : 'optional';

function schemaFields(name: string): string[] {
  return messageType(`criu.${name}`).fieldsArray.map((field) => {
    field.resolve();
    const type = field.resolvedType ? inPackage(field.resolvedType) : field.type;
    return [name, field.id, labelOf(field), type, field.name, hintsOf(field), defaultOf(field)].join(' ');
  });
}

describe('the schema', () => {
  it('has the fields that CRIU has, and no others', () => {
    const expected = fieldRows.map((row) =>
      ['message', 'number', 'label', 'type', 'field', 'options', 'default'].map((column) => row[column]).join(' '),
    );
    expect(expected.length).toBeGreaterThan(1000);
    expect(messages.flatMap(schemaFields).sort()).toEqual(expected.sort());
  });

  it('has the enums that CRIU has, and no others', () => {
    const top = members.flatMap(([name, member]) => ('values' in member ? [[name, member.values] as const] : []));
    const nested = messages.flatMap((name) =>
      messageType(`criu.${name}`).nestedArray.map((inner) => {
        if (!(inner instanceof protobuf.Enum)) throw new Error(`${inner.fullName} is no enum`);
        return [inPackage(inner), inner.values] as const;
      }),
    );
    const found = [...top, ...nested].flatMap(([name, values]) =>
      Object.entries(values).map(([member, value]) => `${name} ${member} ${value}`),
    );
    const expected = enumRows.map(({ enum: name, name: member, value }) => `${name} ${member} ${value}`);
    expect(found.sort()).toEqual(expected.sort());
  });

  it('packs what CRIU packs', () => {
    const packed = messages.flatMap((name) => messageType(`criu.${name}`).fieldsArray.filter((field) => field.packed));
    expect(packed.map(({ fullName }) => fullName)).toEqual(['.criu.pagemap_blocks.block_sizes']);
  });

  it('keeps print hints and defaults where they can be read', () => {
    const optionsOf = (message: string, field: string) => messageType(`criu.${message}`).fields[field]?.options;
    expect(optionsOf('vma_entry', 'start')).toEqual({ '(print).hex': true });
    expect(optionsOf('vma_entry', 'status')).toEqual({ '(print).flags': 'mmap.status' });
    expect(optionsOf('ghost_file_entry', 'rdev')).toEqual({ '(print).dev': true, '(print).odev': true });
    expect(optionsOf('reg_file_entry', 'mnt_id')).toEqual({ default: -1 });
  });

  it('refuses a name that it does not have', () => {
    for (const name of ['criu.no_entry', 'no.mm_entry', 'mm_entry', 'criu.fd_types', '']) {
      expect(() => messageType(name), name).toThrow();
    }
  });

  it('has a comment on each message', () => {
    const without = types().filter(({ comment }) => !comment);
    expect(without.map(({ name }) => name)).toEqual([]);
  });
});

/** The interfaces of the generated module: name, whether one line of comment stands above it, and fields. */
function types(): { name: string; comment: boolean; fields: string[] }[] {
  const text = readFileSync(join(ROOT, 'src/generated/entries.ts'), 'utf8');
  return [...text.matchAll(/(\*\/\n)?export interface (\w+) \{\n(.*?)^\}/gms)].map(
    ([, comment, name = '', body = '']) => ({
      name,
      comment: comment !== undefined,
      fields: [...body.matchAll(/^ {2}([\w$]+\??: .*);$/gm)].map(([, field = '']) => field),
    }),
  );
}

const TYPESCRIPT: [RegExp, string][] = [
  [/^(int64|uint64|sint64|fixed64)$/, 'bigint'],
  [/^(int32|uint32|sint32)$/, 'number'],
  [/^bool$/, 'boolean'],
  [/^bytes$/, 'Uint8Array'],
];

describe('the generated types', () => {
  it('have every message and every field, in the form that its values have', () => {
    const expected = new Map<string, string[]>();
    for (const { message = '', label, type = '', field } of fieldRows) {
      const known = TYPESCRIPT.find(([pattern]) => pattern.test(type))?.[1] ?? type.replace('.', '_');
      const line = `${field}${label === 'required' ? '' : '?'}: ${known}${label === 'repeated' ? '[]' : ''}`;
      expected.set(message, [...(expected.get(message) ?? []), line]);
    }
    const [map, ...interfaces] = types().reverse();
    expect(map?.name).toBe('Messages');
    expect(map?.fields.sort()).toEqual([...expected.keys()].map((name) => `${name}: ${name}`).sort());
    for (const fields of expected.values()) fields.push('$unknown?: Uint8Array[]');
    for (const { name, fields } of interfaces) expect(fields.sort(), name).toEqual(expected.get(name)?.sort());
    expect(interfaces.length).toBe(expected.size);
  });

  it('have every name of every enum', () => {
    const text = readFileSync(join(ROOT, 'src/generated/entries.ts'), 'utf8');
    const found = [...text.matchAll(/^export type (\w+) =(.*?)\| number;$/gms)].flatMap(([, name, names = '']) =>
      [...names.matchAll(/'(\w+)'/g)].map(([, member]) => `${name} ${member}`),
    );
    const expected = enumRows.map(({ enum: name = '', name: member }) => `${name.replace('.', '_')} ${member}`);
    expect(found.sort()).toEqual(expected.sort());
  });
});

describe('the magic numbers', () => {
  /** Magics that are no image type: the first words, a format of CRIU's youth, and a cache that is in no dump. */
  const NO_TYPE: Record<string, number> = {
    IMG_COMMON: IMG_COMMON_MAGIC,
    IMG_SERVICE: IMG_SERVICE_MAGIC,
    CRTOOLS_IMAGES_V1_1: 2,
    KDAT: 0x57023458,
  };

  it('are those of CRIU', () => {
    const expected = Object.fromEntries(magicRows.map(({ magic, value }) => [magic, Number(value)]));
    expect({ ...MAGIC, ...NO_TYPE }).toEqual(expected);
  });

  const typeRows = magicRows.filter(({ magic = '' }) => !(magic in NO_TYPE));

  it.each(typeRows)('$magic has its file names and its messages', (row) => {
    const { magic, value } = row;
    expect(typeOfMagic(Number(value))).toBe(magic);
    const names = (row['file names'] ?? '').split(', ');
    for (const name of names) {
      const instance = name.replace(/<hex id>/, '1f').replace(/<\w+>/, '12');
      expect(typeOfName(instance), instance).toBe(magic);
      expect(typeOfName(`${instance}.old`), `${instance}.old`).toBeUndefined();
    }
    const entries = (row['entry message'] ?? '').replace(/ \(.*/, '').split(' then ');
    for (const entry of entries) expect(messageType(`criu.${entry}`).name).toBe(entry);
  });
});
