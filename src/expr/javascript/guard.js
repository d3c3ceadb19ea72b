// Runs before each expression. The engine looks at its clock when it runs code and when it matches a regular
// expression, but not inside these methods, which walk from 0 to `length`. An array can be given a length of four
// thousand million without a single element, and then they hang for minutes. So here they refuse a length that
// data within the memory limit cannot have, or are written anew in the language itself.
(() => {
  'use strict';
  const LONGEST = 4_000_000; // a place takes 16 bytes, so this fills 64 MB
  const WORK = 10_000_000_000; // comparisons of characters: about a second
  const LONGEST_SUBJECT = 1_000_000;
  const { isArray, prototype } = Array;
  const { apply } = Reflect;
  const { stringify } = JSON;
  const { map } = prototype;
  const text = String.prototype;
  const makeText = String;

  const check = (value) => {
    if (isArray(value) && value.length > LONGEST) {
      throw new RangeError(`an array of ${value.length} places is too long`);
    }
  };
  const replace = (object, name, value) =>
    Object.defineProperty(object, name, { value, writable: true, configurable: true });

  for (const name of ['concat', 'copyWithin', 'join', 'reverse', 'shift', 'slice', 'splice',
    'toLocaleString', 'toReversed', 'toSpliced', 'toString', 'unshift', 'with']) {
    const method = prototype[name];
    replace(prototype, name, function (...args) {
      if (!isArray(this) && typeof this !== 'string') {
        throw new TypeError(`Array.prototype.${name} works on arrays only`);
      }
      check(this);
      for (let i = 0; i < args.length; i++) check(args[i]);
      return apply(method, this, args);
    });
  }

  // Without a comparison of its own, sorting compares whole texts without looking at the clock.
  const inOrder = (a, b) => {
    const [x, y] = [makeText(a), makeText(b)];
    return x < y ? -1 : x > y ? 1 : 0;
  };
  for (const name of ['sort', 'toSorted']) {
    const method = prototype[name];
    replace(prototype, name, function (compare = inOrder) {
      if (!isArray(this)) throw new TypeError(`Array.prototype.${name} works on arrays only`);
      check(this);
      return apply(method, this, [compare]);
    });
  }

  // Searching a long text for a long text takes the product of both lengths.
  for (const name of ['includes', 'indexOf', 'lastIndexOf', 'replace', 'replaceAll', 'split']) {
    const method = text[name];
    replace(text, name, function (pattern, ...args) {
      if (this === null || this === undefined) throw new TypeError(`String.prototype.${name} needs a text`);
      const subject = makeText(this);
      const isPattern = typeof pattern === 'object' && pattern !== null
        && (pattern[Symbol.replace] !== undefined || pattern[Symbol.split] !== undefined);
      const sought = isPattern || (pattern === undefined && name === 'split') ? pattern : makeText(pattern);
      if (typeof sought === 'string' && subject.length * sought.length > WORK) {
        throw new RangeError(`a text of ${sought.length} characters is too long to be sought in ${subject.length}`);
      }
      return apply(method, subject, [sought, ...args]);
    });
  }

  const flatten = (list, depth, out) => {
    for (let i = 0; i < list.length; i++) {
      if (!(i in list)) continue;
      const item = list[i];
      if (isArray(item) && depth >= 1) flatten(item, depth - 1, out);
      else out[out.length] = item;
    }
    return out;
  };
  replace(prototype, 'flat', function (depth = 1) {
    return flatten(this, depth, []);
  });
  replace(prototype, 'flatMap', function (...args) {
    return flatten(apply(map, this, args), 1, []);
  });

  // The search for a match looks at its clock only when it steps back, which some patterns never do.
  const { exec } = RegExp.prototype;
  replace(RegExp.prototype, 'exec', function (subject) {
    const sought = makeText(subject);
    if (sought.length > LONGEST_SUBJECT) {
      throw new RangeError(`a text of ${sought.length} characters is too long for a regular expression`);
    }
    return apply(exec, this, [sought]);
  });

  // Decimal digits of huge integers take time that grows with the square of their number. Literals remain.
  delete globalThis.BigInt;

  // With a replacer the engine calls code for each element, and so looks at its clock.
  replace(JSON, 'stringify', (value, replacer, space) => {
    let each = (key, item) => item;
    if (typeof replacer === 'function') each = replacer;
    if (isArray(replacer)) {
      const keys = new Set(replacer.map(String));
      each = function (key, item) {
        return key === '' || isArray(this) || keys.has(key) ? item : undefined;
      };
    }
    return stringify(value, each, space);
  });
})();
