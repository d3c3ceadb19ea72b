// Gives a program `console`. Texts are printed as they are, all else as JSON, as far as there is any.
((print) => {
  'use strict';
  const { stringify } = JSON;
  const makeText = String;
  const show = (value) => {
    if (typeof value === 'string') return value;
    if (value instanceof Error) return `${value.name}: ${value.message}`;
    if (typeof value === 'function') return `[function ${value.name}]`;
    try {
      return stringify(value, (key, item) => item) ?? makeText(value);
    } catch {
      return makeText(value);
    }
  };
  const writer = (isError) => (...values) => {
    let line = '';
    for (let i = 0; i < values.length; i++) line += (i > 0 ? ' ' : '') + show(values[i]);
    print(isError, line);
  };
  const [out, error] = [writer(false), writer(true)];
  globalThis.console = { log: out, info: out, debug: out, warn: error, error, trace: error };
})
