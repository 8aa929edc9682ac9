<?php

$r = new Redis();
$r->connect('127.0.0.1', (int) (getenv('REDIS_PORT') ?: 6379));
$r->publish('blogpost', json_encode(['title' => 'Knock, knock — ¿quién es?', 'by' => 'php', 'url' => '/posts/1?a=1&b=<2>']));
