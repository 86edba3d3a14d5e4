/** Message types, from the schema that the build makes of proto/. */
import protobuf from 'protobufjs/light.js';
import { schema } from './generated/schema.js';

const root = protobuf.Root.fromJSON(schema);

/** The message type of a full name, such as `criu.mm_entry`. */
export const messageType = (name: string): protobuf.Type => root.lookupType(name);
