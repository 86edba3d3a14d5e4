// Writes TypeScript interfaces for the messages of a package, of the JSON schema with its comments.

const SCALARS = {
  bool: 'boolean',
  bytes: 'Uint8Array',
  string: 'string',
  ...Object.fromEntries(
    ['int32', 'uint32', 'sint32', 'fixed32', 'sfixed32', 'float', 'double'].map((t) => [t, 'number']),
  ),
  ...Object.fromEntries(['int64', 'uint64', 'sint64', 'fixed64', 'sfixed64'].map((t) => [t, 'bigint'])),
};

const HEADER = `/**
 * The messages of CRIU's images as objects. Made from proto/criu/ by scripts/build.mjs.
 *
 * 64-bit integers are bigints. A repeated field is absent when it is empty. A value of an enum that has no name is its
 * number. \`$unknown\` has the fields that the schema does not know, each with its tag, as bytes.
 */
`;

/** A TSDoc comment, or nothing where the schema has none. */
function doc(comment, indent = '') {
  if (!comment) return '';
  const lines = comment.replaceAll('*/', '*\\/').split('\n');
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}\n`).join('')}${indent} */\n`;
}

const enumType = (name, { values, comment }) => {
  const names = Object.keys(values).map((value) => `'${value}'`);
  return `${doc(comment)}export type ${name} = ${[...names, 'number'].join(' | ')};\n`;
};

function messageType(name, { fields, nested = {}, comment }, members) {
  const typeOf = (type) => {
    const known = SCALARS[type] ?? (type in nested ? `${name}_${type}` : type in members ? type : undefined);
    if (!known) throw new Error(`${name} has a field of the unknown type ${type}`);
    return known;
  };
  const enums = Object.entries(nested).map(([inner, node]) => {
    if (!node.values) throw new Error(`${name}.${inner} is a nested message, which nothing here expects`);
    return `${enumType(`${name}_${inner}`, node)}\n`;
  });
  const lines = Object.entries(fields).map(([field, { type, rule, comment: about }]) => {
    const mark = rule === 'required' ? '' : '?';
    return `${doc(about, '  ')}  ${field}${mark}: ${typeOf(type)}${rule === 'repeated' ? '[]' : ''};\n`;
  });
  return `${enums.join('')}${doc(comment)}export interface ${name} {\n${lines.join('')}  $unknown?: Uint8Array[];\n}\n`;
}

/** A module of all messages and enums in `members`: name to the JSON that protobufjs makes of it. */
export function entryTypes(members) {
  const types = Object.entries(members).map(([name, node]) =>
    node.values ? enumType(name, node) : messageType(name, node, members),
  );
  const names = Object.keys(members).filter((name) => members[name].fields);
  const map = names.map((name) => `  ${name}: ${name};\n`).join('');
  return [HEADER, ...types, `/** Every message by its name. */\nexport interface Messages {\n${map}}\n`].join('\n');
}
