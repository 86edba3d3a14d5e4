/** Message types of protobufjs, of the schema that the build makes of proto/: what our own codec is held against. */
import protobuf from 'protobufjs/light.js';
import { schema } from '../../src/generated/schema.js';

const root = new protobuf.Root();

/** Adds a message or enum of a package to the root, and what it refers to. */
function add(packageName: string, name: string): void {
  const json = schema[packageName]?.[name];
  const target = root.define(packageName);
  if (!json || target.get(name)) return;
  // Said for each: protobufjs takes a package for proto3, and would pack repeated fields.
  target.addJSON({ [name]: { ...json, edition: 'proto2' } });
  if (!('fields' in json)) return;
  // A scalar type or a nested one is not in the package itself, and adds nothing.
  for (const { type } of Object.values(json.fields)) add(packageName, type);
}

/** The message type of a full name, such as `criu.mm_entry`. */
export function messageType(name: string): protobuf.Type {
  const [packageName = '', message = ''] = name.split('.');
  add(packageName, message);
  root.resolveAll();
  return root.lookupType(name);
}
