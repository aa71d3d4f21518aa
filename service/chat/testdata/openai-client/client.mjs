// OpenAI's own client against the service at BASE_URL: MODE says whether a language model stands behind it.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const { BASE_URL: baseURL, MODE: mode } = process.env;
const client = new OpenAI({ baseURL, apiKey: 'ada-token', maxRetries: 0 });
const model = 'smart-assistant';
const ask = (content) => ({ model, messages: [{ role: 'user', content }] });

const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Says what the weather is somewhere',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};

const checks = {
  async 'lists models'() {
    const ids = [];
    for await (const m of client.models.list()) ids.push(m.id);
    assert.deepEqual(ids, mode === 'model' ? [model, 'vendor/large', 'vectors'] : [model, 'hash-256-v1']);
    for (const id of ids) assert.equal((await client.models.retrieve(id)).id, id);
  },

  async 'answers'() {
    const answer = await client.chat.completions.create(ask('list my applications'));
    assert.equal(answer.object, 'chat.completion');
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.match(answer.choices[0].message.content, mode === 'model' ? /^Hello there$/ : /ACME/);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  },

  async 'streams, with usage at the end'() {
    const stream = await client.chat.completions.create({ ...ask('list my applications'), stream: true, stream_options: { include_usage: true } });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    assert.equal(chunks[0].choices[0].delta.role, 'assistant');
    const last = chunks.pop();
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.total_tokens > 0);
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
    assert.match(chunks.map((c) => c.choices[0].delta.content ?? '').join(''), mode === 'model' ? /^Hello there$/ : /ACME/);
  },

  async 'puts a streamed tool call together'() {
    const stream = client.chat.completions.stream({
      ...ask('What is the weather in Paris?'), tools: [weather], tool_choice: { type: 'function', function: { name: 'get_weather' } },
    });
    for await (const chunk of stream) {
      for (const call of chunk.choices[0]?.delta.tool_calls ?? []) assert.equal(call.index, 0);
    }
    const { choices } = await stream.finalChatCompletion();
    assert.equal(choices[0].finish_reason, 'tool_calls');
    const [call] = choices[0].message.tool_calls;
    assert.ok(call.id);
    assert.equal(call.type, 'function');
    assert.equal(call.function.name, 'get_weather');
    assert.deepEqual(JSON.parse(call.function.arguments), { city: 'Paris' });
  },

  async 'runs tools, streamed and not'() {
    for (const stream of [false, true]) {
      const asked = [];
      const run = client.chat.completions.runTools({
        ...ask('What is the weather in Paris?'), stream,
        tools: [{
          type: 'function',
          function: { ...weather.function, parse: JSON.parse, function: ({ city }) => { asked.push(city); return 'It is 7 degrees'; } },
        }],
      });
      assert.match(await run.finalContent(), /It is 7 degrees/);
      assert.deepEqual(asked, ['Paris']);
    }
  },

  async 'sees typed errors'() {
    const nobody = new OpenAI({ baseURL, apiKey: 'wrong', maxRetries: 0 });
    await assert.rejects(nobody.models.list(), (e) => e instanceof OpenAI.AuthenticationError && e.code === 'invalid_api_key');
    await assert.rejects(nobody.chat.completions.create({ ...ask('hi'), stream: true }), OpenAI.AuthenticationError);
    await assert.rejects(client.chat.completions.create({ ...ask('hi'), model: 'gpt-4' }),
      (e) => e instanceof OpenAI.NotFoundError && e.code === 'model_not_found' && e.param === 'model');
    await assert.rejects(client.models.retrieve('gpt-4'), OpenAI.NotFoundError);
    await assert.rejects(client.chat.completions.create({ ...ask('hi'), n: 2 }),
      (e) => e instanceof OpenAI.BadRequestError && e.param === 'n' && e.type === 'invalid_request_error');
    await assert.rejects(client.chat.completions.create({ model, messages: [] }), OpenAI.BadRequestError);
    await assert.rejects(client.embeddings.create({ model, input: '' }), OpenAI.BadRequestError);
    await assert.rejects(client.chat.completions.create(ask('x'.repeat(1 << 20))), (e) => e.status === 413);
    if (mode === 'model') {
      await assert.rejects(client.chat.completions.create({ ...ask('fail'), model: 'vendor/large' }),
        (e) => e instanceof OpenAI.InternalServerError && e.status === 503);
      const stream = await client.chat.completions.create({ ...ask('break off'), model: 'vendor/large', stream: true });
      await assert.rejects(async () => { for await (const _ of stream); }, OpenAI.APIError);
    }
  },

  async 'embeds, as floats and packed'() {
    const name = mode === 'model' ? 'vectors' : 'hash-256-v1';
    const packed = await client.embeddings.create({ model: name, input: ['hello', 'hi'] }); // the client asks for base64 and unpacks it
    const floats = await client.embeddings.create({ model: name, input: ['hello', 'hi'], encoding_format: 'float' });
    assert.deepEqual(packed.data.map((d) => [...d.embedding]), [[5, 0.5, -1], [2, 0.5, -1]]);
    assert.deepEqual(floats.data.map((d) => d.embedding), [[5, 0.5, -1], [2, 0.5, -1]]);
  },

  async 'leaves in the middle of a stream'() {
    if (mode !== 'model') return;
    const stream = await client.chat.completions.create({ ...ask('slow'), stream: true });
    for await (const chunk of stream) {
      if (chunk.choices[0].delta.content) stream.controller.abort();
    }
  },
};

for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
  } catch (e) {
    console.error(`${mode}: ${name}:`, e);
    process.exitCode = 1;
  }
}
