// Writes answers.json: what a server of the replaced scheduler's shape answers to each request below.
//
//   cd $(mktemp -d) && npm install fastify@5.12.8 @fastify/cors@11.4.3 @fastify/rate-limit@11.2.0 @fastify/helmet@13.2.0
//   node PATH/tests/vectors/fastify/build.mjs node_modules > PATH/tests/vectors/fastify/answers.json
//
// Only what its framework decides is asked: routing, CORS, security headers, rate limit, reading of bodies.
// An answer is {request, status, headers, body}; headers without `date`, `connection`, `keep-alive` and `content-length`.

import {createRequire} from 'node:module';
import http from 'node:http';
import path from 'node:path';

const require = createRequire(path.resolve(process.argv[2], 'x.js'));
const app = require('fastify')({logger: false});
await app.register(require('@fastify/rate-limit'), {
  max: 3, timeWindow: 60000, allowList: ['127.0.0.1'],
  errorResponseBuilder: (request, {ttl}) => {
    const retryAfter = Math.ceil(ttl / 1000);
    return {statusCode: 429, error: 'Too Many Requests', message: `Rate limit exceeded. Try again in ${retryAfter} seconds.`, retryAfter};
  },
});
app.get('/health', {config: {rateLimit: false}}, async () => ({status: 'healthy'}));
await app.register(require('@fastify/helmet'), {contentSecurityPolicy: false});
await app.register(require('@fastify/cors'), {
  origin: ['http://localhost:3000', 'https://admin.example'], credentials: true, methods: ['GET', 'HEAD', 'PUT', 'PATCH', 'POST', 'DELETE'],
});
app.addContentTypeParser('application/json', {parseAs: 'string'}, (request, body, done) => {
  if (!body) return done(null, {});
  try { done(null, JSON.parse(body)); } catch (error) { error.statusCode = 400; done(error); }
});
const echo = async request => ({params: request.params, body: request.body ?? null});
await app.register(async routes => {
  routes.get('/jobs', async () => ({jobs: []}));
  for (const [method, at] of [['get', ''], ['delete', ''], ['post', '/trigger'], ['post', '/enable'], ['put', '/cron'], ['get', '/history']]) {
    routes[method](`/jobs/:jobName${at}`, echo);
  }
}, {prefix: '/api'});
app.setNotFoundHandler((request, reply) => reply.status(404).send({error: 'Endpoint not found', path: request.url, method: request.method}));
await app.listen({port: 0, host: '0.0.0.0'});
const {port} = app.server.address();

const LEFT_OUT = ['date', 'connection', 'keep-alive', 'content-length'];
function ask({method, path, headers = {}, body, from = '127.0.0.1'}) {
  return new Promise((resolve, reject) => {
    const agent = new http.Agent({keepAlive: false});
    const sent = http.request({host: from, localAddress: from, port, method, path, headers, agent}, answer => {
      let text = '';
      answer.on('data', part => { text += part; });
      answer.on('end', () => resolve({
        status: answer.statusCode, body: text,
        headers: Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !LEFT_OUT.includes(name))),
      }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const JSON_BODY = {'content-type': 'application/json'}, HOME = {origin: 'http://localhost:3000'}, AWAY = {origin: 'http://evil.example'};
const WANTS = {'access-control-request-method': 'PUT', 'access-control-request-headers': 'authorization,content-type'};
const get = (path, headers, from) => ({method: 'GET', path, headers, from});
const preflight = (path, headers, from) => ({method: 'OPTIONS', path, headers, from});
const post = (body, headers = JSON_BODY) => ({method: 'POST', path: '/api/jobs/a/trigger', headers, body});
const REQUESTS = [
  get('/health'), get('/health', HOME), get('/health', AWAY), get('/health', {origin: 'https://admin.example'}), get('/health', {origin: 'null'}),
  get('/health', {origin: 'HTTP://LOCALHOST:3000'}), get('/nowhere', HOME),
  preflight('/api/jobs', {...HOME, ...WANTS}), preflight('/api/jobs', {...AWAY, ...WANTS}), preflight('/api/jobs', HOME), preflight('/api/jobs', WANTS),
  preflight('/nowhere', {...HOME, 'access-control-request-method': 'DELETE'}), preflight('/api/jobs'),
  get('/nowhere?x=1'), get('/'), {method: 'PATCH', path: '/api/jobs/a'}, {method: 'POST', path: '/api/jobs'}, {method: 'PUT', path: '/api/jobs/a/trigger'},
  {method: 'HEAD', path: '/health'}, {method: 'HEAD', path: '/api/jobs'}, {method: 'HEAD', path: '/nowhere'}, {method: 'TRACE', path: '/api/jobs'},
  get('/api//jobs'), get('/API/jobs'), get('/api/jobs/a/'), get('/api/jobs/a%2Fb'), get('/api/jobs/a%20b'), get('/api/jobs/%C3%A4'), get('/api/jobs/%zz'),
  get('/api/jobs/%ff'), get('/api/jobs/%'), get('/api/jobs/%00'), get('/api/jobs/..'), get('/api/jobs/%2e%2e'), get('/api/jobs/a/b'), get('/api/jobs/x/../y'),
  get('/api/jobs/a?x=%zz'), get('/api/jobs/a;b'), get('/api/jobs/a+b'), get(`/api/jobs/${'a'.repeat(101)}`),
  post('{}'), post(''), post('{"a":'), post('nope'), post('[]'), post('null'), post('{"userId":"a","userId":"b"}'), post('{"userId":NaN}'), post('\ufeff{}'),
  post('{}', {'content-type': 'application/json; charset=utf-8'}), post('{}', {'content-type': 'APPLICATION/JSON'}), post('x', {'content-type': 'text/plain'}),
  post('x', {'content-type': 'application/xml'}), post('a=b', {'content-type': 'application/x-www-form-urlencoded'}), post('{}', {'content-type': 'application/problem+json'}),
  post(undefined, {}), post(undefined), post('{}', {}), post('{}', {'content-type': ''}),
  {method: 'POST', path: '/api/jobs/a/enable', headers: JSON_BODY}, {method: 'POST', path: '/api/jobs/a/enable', headers: JSON_BODY, body: '{"a":'},
  {method: 'DELETE', path: '/api/jobs/a', headers: JSON_BODY}, {method: 'DELETE', path: '/api/jobs/a'},
  get('/api/jobs', {}, '127.0.0.2'), get('/nowhere', {}, '127.0.0.2'), get('/api/jobs', {}, '127.0.0.2'), get('/api/jobs/a', {}, '127.0.0.2'),
  get('/api/jobs', {}, '127.0.0.2'), get('/api/jobs', HOME, '127.0.0.2'), get('/health', {}, '127.0.0.2'), preflight('/api/jobs', {...HOME, ...WANTS}, '127.0.0.2'),
  get('/nowhere', {}, '127.0.0.2'), get('/api/jobs', {}, '127.0.0.3'), get('/api/jobs'),
];

const rows = [];
for (const request of REQUESTS) {
  try { rows.push(JSON.stringify({request, ...await ask(request)})); } catch (error) { rows.push(JSON.stringify({request, status: 0, headers: {}, body: error.code})); }
}
process.stdout.write(`[\n${rows.join(',\n')}\n]\n`);
await app.close();
