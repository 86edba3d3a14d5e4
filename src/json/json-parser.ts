/** stream-json's parser: keys and numbers as a whole, text in the pieces that it comes in. */
import { jsonParser } from 'stream-json/core/parser.js';

export const newParser = () =>
  jsonParser({
    packKeys: true,
    streamKeys: false,
    packStrings: false,
    streamStrings: true,
    packNumbers: true,
    streamNumbers: false,
  });

/** A message of the parser in the wording of our errors. */
export function parserWords(message: string): string {
  const what = message.replace(/^Parser (cannot parse input: |has )?/, '');
  if (what === 'escaped characters') return 'expected a character or an escape in a string, found neither';
  if (what === 'unexpected characters') return 'expected the end, found more';
  return what.replace(/^unexpected token (.*)/, 'expected one more behind a comma, found $1');
}
