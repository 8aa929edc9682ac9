<?php

$r = new Redis();
$r->connect('127.0.0.1', (int) (getenv('REDIS_PORT') ?: 6379));
$r->publish('blogpost', json_encode(['title' => 'Knock, knock — ¿quién es?', 'by' => 'php', 'url' => '/posts/1?a=1&b=<2>']));
// Durable, on a channel with history: recorded, resumable, and the answer is its position.
$invoice = json_encode(['title' => 'Invoice', 'by' => 'php']);
echo $r->rawCommand('FCALL', 'aldaba_publish', 1, 'user:anna', $invoice), "\n";
