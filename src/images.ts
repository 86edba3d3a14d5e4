/** `pagepipe/images`: the codec of images. Images of any type as typed entries, and as JSON, in both directions. */
export type * from './generated/entries.js';
export type { DecodeOptions } from './image/decoder.js';
export type { MessagesIn } from './image/grammar.js';
export { type ImageType, MAGIC, typeOfMagic, typeOfName } from './image/magic.js';
export * from './image/parts.js';
export type { EncodeOptions } from './json/from-json.js';
export { imageToJson, jsonToImage } from './json/stages.js';
export type { JsonOptions } from './json/to-json.js';
export type { MessageName } from './protobuf/descriptor.js';
