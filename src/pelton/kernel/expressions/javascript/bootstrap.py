"""What is prepared in a JavaScript context before a user's script runs in it, itself in JavaScript.

* Time stands still at the moment given, in UTC; random numbers follow from the seed (mulberry32).
* What could tell one run from another is removed: clocks, weak references, shared memory, job queues.
* In a context that scripts share, all intrinsics are frozen, hidden prototypes too, so that one script cannot change what
  another sees. (A context for one script is not: freezing takes 3 ms.) A frozen property would also forbid
  `object.toString = ...` on ordinary objects; so the prototypes that scripts override on their own objects have accessors
  which define the property on the object at hand.
* `run(main, text, now, seed)` calls `main` with the parsed argument and answers in a form that survives the border:
  undefined, null, a boolean or a finite number as it is; a failure as "!" and JSON text [message, stack]; everything
  else as JSON text. Afterwards it removes the globals that the script has made, or answers that it cannot (`tidy`).
"""

from __future__ import annotations

MAX_RESULT = 4_000_000  # characters of JSON text that a script may answer

SOURCE = r"""
(function (shared) {
  'use strict';
  let now = 0, state = 0;
  const G = globalThis, R = Reflect, O = Object;
  const { parse, stringify } = JSON;
  const { construct, ownKeys, apply, defineProperty, getPrototypeOf, getOwnPropertyDescriptor } = R;
  const RealDate = Date, D = RealDate.prototype, ErrorOf = Error, Str = String, Num = Number, isFiniteNumber = Number.isFinite;
  const isWellFormed = Str.prototype.isWellFormed, toWellFormed = Str.prototype.toWellFormed;
  const define = (object, name, value) =>
    defineProperty(object, name, { value, writable: true, enumerable: false, configurable: true });

  for (const name of ['performance', 'Atomics', 'SharedArrayBuffer', 'WeakRef', 'FinalizationRegistry', 'queueMicrotask'])
    delete G[name];

  // ---- time
  const zoned = /(?:Z|GMT|UTC|[+-]\d\d:?\d\d)\s*(?:\(.*\))?\s*$/i, dateOnly = /^[+-]?\d{4,6}(?:-\d\d){0,2}$/;
  const realParse = RealDate.parse, realUTC = RealDate.UTC;
  const parseDate = (text) => {
    text = Str(text);
    if (zoned.test(text) || dateOnly.test(text)) return realParse(text);
    const iso = realParse(text + 'Z');
    return iso === iso ? iso : realParse(text + ' UTC');
  };
  const Fake = function Date(...parts) {
    if (new.target === undefined) return new RealDate(now).toString();
    let from = parts;
    if (parts.length === 0) from = [now];
    else if (parts.length > 1) from = [apply(realUTC, undefined, parts)];
    else if (typeof parts[0] === 'string') from = [parseDate(parts[0])];
    return construct(RealDate, from, new.target);
  };
  defineProperty(Fake, 'length', { value: 7 });
  defineProperty(Fake, 'prototype', { value: D, writable: false });
  define(Fake, 'now', function now_() { return now; });
  define(Fake, 'parse', function parse(text) { return parseDate(text); });
  define(Fake, 'UTC', realUTC);
  define(D, 'constructor', Fake);
  define(G, 'Date', Fake);
  for (const unit of ['FullYear', 'Month', 'Date', 'Day', 'Hours', 'Minutes', 'Seconds', 'Milliseconds'])
    for (const verb of ['get', 'set'])
      if (D[verb + 'UTC' + unit]) define(D, verb + unit, D[verb + 'UTC' + unit]);
  define(D, 'getTimezoneOffset', function getTimezoneOffset() { return this.getTime() === this.getTime() ? 0 : NaN; });
  define(D, 'getYear', function getYear() { return this.getUTCFullYear() - 1900; });
  const toUTC = D.toUTCString, utcForm = /^(\w+), (\d+) (\w+) (-?\d+) ([\d:]+) GMT$/;
  const text = (date, day, time, invalid) => {
    const found = utcForm.exec(apply(toUTC, date, []));
    return found ? [day(found), time(found)].filter(Boolean).join(' ') : invalid;
  };
  const day = (f) => f[1] + ' ' + f[3] + ' ' + f[2] + ' ' + f[4], time = (f) => f[5] + ' GMT+0000 (UTC)', none = () => '';
  define(D, 'toString', function toString() { return text(this, day, time, 'Invalid Date'); });
  define(D, 'toDateString', function toDateString() { return text(this, day, none, 'Invalid Date'); });
  define(D, 'toTimeString', function toTimeString() { return text(this, none, time, 'Invalid Date'); });
  const localDay = (d) => (d.getUTCMonth() + 1) + '/' + d.getUTCDate() + '/' + d.getUTCFullYear();
  const two = (n) => (n < 10 ? '0' : '') + n;
  const localTime = (d) => (d.getUTCHours() % 12 || 12) + ':' + two(d.getUTCMinutes()) + ':' + two(d.getUTCSeconds()) +
    (d.getUTCHours() < 12 ? ' AM' : ' PM');
  const local = (form) => function () { return this.getTime() === this.getTime() ? form(this) : 'Invalid Date'; };
  define(D, 'toLocaleDateString', local(localDay));
  define(D, 'toLocaleTimeString', local(localTime));
  define(D, 'toLocaleString', local((d) => localDay(d) + ', ' + localTime(d)));

  // ---- chance
  define(Math, 'random', function random() {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  });

  // ---- the answer
  const plain = function (key, value) {
    switch (typeof value) {
      case 'number': return isFiniteNumber(value) ? value : Str(value);
      case 'string':
        if (this[key] instanceof RealDate) return {};
        return apply(isWellFormed, value, []) ? value : apply(toWellFormed, value, []);
      case 'bigint': return value >= -9007199254740991n && value <= 9007199254740991n ? Num(value) : Str(value);
      case 'function': case 'undefined': case 'symbol': return null;
      case 'object': return value !== null && this[key] instanceof RealDate ? {} : value;
    }
    return value;
  };
  const answer = (value) => {
    if (value === undefined || value === null || typeof value === 'boolean') return value;
    if (typeof value === 'number' && isFiniteNumber(value)) return value;
    const result = stringify(value, plain);
    if (result === undefined) return null;
    if (result.length > MAX_RESULT)
      throw new RangeError('the result has ' + result.length + ' characters; the limit is ' + MAX_RESULT);
    return result;
  };
  const failure = (error) => {
    let message = 'an error that cannot be shown', stack = '';
    try {
      message = Str(error);
      if (error instanceof ErrorOf && typeof error.stack === 'string') stack = error.stack;
    } catch (_) {}
    return '!' + stringify([apply(toWellFormed, message.slice(0, 1000), []), apply(toWellFormed, stack.slice(0, 4000), [])]);
  };

  // ---- freezing
  const freezeAll = () => {
    const overridden = [O.prototype, Function.prototype, Array.prototype, D, Promise.prototype, RegExp.prototype];
    for (const name of ownKeys(G)) {
      const made = typeof G[name] === 'function' ? G[name].prototype : undefined;
      if (made instanceof ErrorOf || made === ErrorOf.prototype) overridden.push(made);
    }
    for (const prototype of overridden)
      for (const name of ownKeys(prototype)) {
        const found = getOwnPropertyDescriptor(prototype, name);
        if (typeof name !== 'string' || !('value' in found) || !found.configurable) continue;
        const { value } = found;
        defineProperty(prototype, name, {
          get() { return value; },
          set(other) {
            if (this === prototype || this === undefined || this === null) throw new TypeError("'" + name + "' is read-only");
            defineProperty(this, name, { value: other, writable: true, enumerable: true, configurable: true });
          },
          enumerable: false, configurable: false,
        });
      }
    const seen = new Set(), pending = [];
    const visit = (value) => {
      if ((typeof value === 'object' && value !== null || typeof value === 'function') && value !== G && !seen.has(value)) {
        seen.add(value);
        pending.push(value);
      }
    };
    for (const name of ownKeys(G)) visit(G[name]);
    const iterators = [[][Symbol.iterator](), ''[Symbol.iterator](), new Map().entries(), new Set().values(), 'a'.matchAll(/a/g),
      (function* () {})(), (async function* () {})(), Iterator.from({ next() {} }), [].values().map((x) => x)];
    iterators.forEach((iterator) => visit(getPrototypeOf(iterator)));
    [function* () {}, async function () {}, async function* () {}].forEach((f) => visit(getPrototypeOf(f)));
    visit(getOwnPropertyDescriptor(function () { 'use strict'; return arguments; }(), 'callee').get);
    while (pending.length) {
      const value = pending.pop();
      visit(getPrototypeOf(value));
      for (const name of ownKeys(value)) {
        const found = getOwnPropertyDescriptor(value, name);
        visit(found.value); visit(found.get); visit(found.set);
      }
      O.freeze(value);
    }
    for (const name of ownKeys(G)) {
      const found = getOwnPropertyDescriptor(G, name);
      if (found.configurable)
        defineProperty(G, name, 'value' in found ? { writable: false, configurable: false } : { configurable: false });
    }
  };
  if (shared) freezeAll();
  const globals = new Set(ownKeys(G)), root = getPrototypeOf(G);
  const isGlobal = globals.has.bind(globals);
  const tidy = () => {
    const names = ownKeys(G);
    if (names.length !== globals.size)
      for (let i = 0; i < names.length; i++)
        if (!isGlobal(names[i]) && !R.deleteProperty(G, names[i])) return false;
    return getPrototypeOf(G) === root;
  };

  const run = (main, text, moment, seed) => {
    now = moment;
    state = seed;
    try {
      return answer(main(parse(text)));
    } catch (error) {
      return failure(error);
    }
  };
  return (which) => which === 0 ? run : tidy;
})
""".replace("MAX_RESULT", str(MAX_RESULT))
