#!/usr/bin/env python3
"""Makes the golden files of tests/tokenizer.

Small tokenizers of our own, one for each family of tokenizer.json that is in
use, are trained on a seeded corpus that this script makes; what the reference
packages encode and decode with them is written beside them:

    tests/golden/tokenizer/corpus.json              the texts, by index
    tests/golden/tokenizer/<family>/                 what Tokenizer::Load reads
    tests/golden/tokenizer/<family>/golden.json      the expected ids and texts
    tests/golden/tokenizer/material.json             ids of public tokenizers on
                                                     public texts; neither is here

Regenerate, with the packages of .deps/reference:

    .deps/reference/bin/python tests/golden/make_tokenizer_goldens.py \
        [--material DIR]

A second run gives the same files, except for metaspace_always, word_suffix
and subword_prefix, whose alphabets the package's trainer takes from a hash
table.

Versions that the committed files come from: tokenizers 0.23.3,
sentencepiece 0.2.3, transformers 5.23.0 (each golden.json repeats them).
"""

import argparse
import io
import json
import os
import pathlib
import random
import shutil
import tempfile

import sentencepiece
import tokenizers
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models,
                        normalizers, pre_tokenizers, processors, trainers)

OUT = pathlib.Path(__file__).resolve().parent / 'tokenizer'
SEED = 20240607

GPT4_REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
              r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_REGEX = GPT4_REGEX.replace(r'\p{N}{1,3}', r'\p{N}')
O200K_REGEX = '|'.join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+",
    r"\s+(?!\S)", r"\s+"])
DEEPSEEK_REGEX = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def training_corpus():
    rng = random.Random(SEED)
    stems = ('stock pot ladle simmer broth recipe adapter weight rank scale '
             'token merge serve taste pepper onion carrot thyme low high base '
             'model the and with from into over under that this').split()
    ends = ['', 's', 'ed', 'ing', 'er', "'s", "'ll", 'ly', 'ness']
    foreign = ('Führer über straße façade naïve crème brûlée señor привет мир '
               'суп кастрюля 料理 鍋 スープ 안녕하세요 국물 مرحبا شوربة שלום '
               'नमस्ते สวัสดี ελληνικά 🦙 🍲 👩‍🍳 ✨').split()
    lines = []
    for _ in range(1500):
        words = []
        for _ in range(rng.randint(3, 12)):
            kind = rng.random()
            if kind < 0.75:
                word = rng.choice(stems) + rng.choice(ends)
                word = word.capitalize() if rng.random() < 0.15 else word
            elif kind < 0.87:
                word = rng.choice(foreign)
            else:
                word = str(rng.randint(0, 10**rng.randint(1, 6)))
            words.append(word)
        line = rng.choice([' ', ' ', ' ', '  ', ', ', '-']).join(words)
        lines.append(line + rng.choice(['.', '!', '?', '...', '\n', '\r\n', '']))
    return lines


def test_texts():
    rng = random.Random(SEED + 1)
    texts = [
        '', ' ', '  ', '   ', '\t', '\n', '\n\n', '\n\n\n', '\r\n', '\r\n\r\n',
        ' \n', '\n ', '\t\n', 'a', ' a', 'a ', '  a  ', 'Hello world',
        ' Hello world', 'Hello  world', 'Hello   world!', 'HELLO World',
        "it's we're I'll you've he'd I'M IT'S 'S ’s 'ſ", 'stockpot', 'stockpots',
        'simmering the broth, with thyme.', 'taste\r\ntaste\rtaste\ntaste',
        '3', '33', '333', '3333', '33333', '3 3 3', '12,345.67', '٣٤٥', '१२३',
        '½ ² Ⅷ ①', 'x=1+2*3/4-5', 'a_b__c', 'foo(bar)[baz]{qux}', '#!/bin/sh',
        'http://example.org/a?b=c&d=%20#e', 'user@example.com', '--', '----',
        '=' * 17, '!?!?!?', '"quoted" \'single\' `back`', '\\n \\t \\\\',
        # Other scripts, marks and directions.
        'Führer über straße', 'Fu\u0308hrer u\u0308ber', 'e\u0301\u0323\u0302',
        '\u0301', 'a\u0301\u0301\u0301\u0301', '\u1112\u1161\u11ab', '한',
        'ﬁ ﬂ ﬀ ſt', 'İıŞş', 'ΑΣ ΟΔΟΣ', 'привет мир', '料理の鍋スープ',
        '안녕하세요 국물', 'مرحبا شوربة', 'שלום \u202eרק\u202c', 'नमस्ते', 'สวัสดี',
        'កាន់តែ', '\U0001F9D9', '🦙🍲', '👩‍🍳👨‍👩‍👧‍👦', '🇩🇪🇯🇵', '👍🏽', '☃️', '✨' * 5,
        '𝔘𝔫𝔦𝔠𝔬𝔡𝔢', 'Ａ１！', '㍿', '\u2028\u2029', '\u00a0\u3000\u2003x',
        '\u180ex\u180e', '\u200bx\u200c\u200d', '\ufeffx', '\ufffd', '\ufffe\uffff',
        '\U0010ffff', '\ue000', '\u0378', '\U00031350\U0001e030', '\U00011f50',
        # Control characters.
        '\x00', 'a\x00b', '\x01\x02\x1f\x7f\x80\x85\x9f', 'a\x0b\x0cb', '\x1b[31m',
        # Text of special and of byte tokens.
        '<s>', '</s>', '<unk>', 'x<s>y</s>z', '<|endoftext|>', '<|im_start|>user\n',
        'a <|eot_id|> b', '<|endoftext|><|endoftext|>', ' <|endoftext|> ', '<|end',
        '<0x41>', '<0xE2><0x96>', '▁', '▁▁a', 'a▁b', ' ▁ ', 'Ġ', 'ĠĠa', 'Ċ',
        'user_symbol', 'x user_symbol  y', 'user_symbolic', 'add tok add tokens',
        'tail   TAIL   tail', 'word.WORD.words', 'xaddy add  ',
        '##ing pot##s </w> a</w>b',
        # Long runs.
        'a' * 300, ' ' * 300, ' ' * 150 + 'x', '\n' * 100, '. ' * 100, '😀' * 60,
        '\u0301' * 80, '0' * 200, 'ab' * 120, '\t \n' * 40, '料' * 60, '\x00' * 40,
        '-' * 150, 'The ' * 80,
    ]
    # Random mixtures, from all of the above and from all of Unicode.
    alphabet = [c for t in texts for c in t]
    for _ in range(60):
        texts.append(''.join(rng.choice(alphabet)
                             for _ in range(rng.randint(2, 40))))
    for _ in range(30):
        points = []
        while len(points) < 20:
            limit = rng.choice([0x100, 0x3000, 0x10000, 0x30000])
            point = rng.randrange(limit)
            if not 0xD800 <= point < 0xE000:
                points.append(chr(point))
        texts.append(''.join(points))
    return texts


def train(tokenizer, special, vocab_size=700, **options):
    byte_tokens = options.pop('byte_tokens', False)
    first = list(special)
    if byte_tokens:
        first += [f'<0x{b:02X}>' for b in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size + (256 if byte_tokens else 0),
        special_tokens=first, show_progress=False, **options)
    tokenizer.train_from_iterator(training_corpus(), trainer)
    state = json.loads(tokenizer.to_str())
    # Training makes every first token an added one; bytes are none.
    state['added_tokens'] = [t for t in state['added_tokens']
                             if not t['content'].startswith('<0x')]
    return state


def byte_level(pre_tokenizer, special, normalizer=None, **options):
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return train(tokenizer, special,
                 initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)


def bos_template(token, ids, suffix=''):
    return json.loads(processors.TemplateProcessing(
        single=f'{token} $A{suffix}', pair=f'{token} $A $B',
        special_tokens=ids).__getstate__())


def split(regex, behavior='isolated', invert=False):
    return pre_tokenizers.Split(Regex(regex), behavior, invert)


def no_regex():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def families():
    """Yields (name, tokenizer.json as an object, tokenizer_config.json)."""
    state = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False),
                       ['<|endoftext|>'])
    state['post_processor'] = json.loads(
        processors.ByteLevel(trim_offsets=False).__getstate__())
    state['model']['merges'] = [' '.join(m) for m in state['model']['merges']]
    yield 'gpt2', state, {'bos_token': '<|endoftext|>',
                          'eos_token': '<|endoftext|>'}

    state = byte_level(
        pre_tokenizers.Sequence([split(GPT4_REGEX), no_regex()]),
        ['<|begin_of_text|>', '<|eot_id|>', '<|endoftext|>'])
    # Words that no merge makes any more are what ignore_merges is for.
    state['model']['merges'] = [
        m for i, m in enumerate(state['model']['merges']) if i % 9 != 8]
    state['model']['ignore_merges'] = True
    state['post_processor'] = {
        'type': 'Sequence',
        'processors': [
            json.loads(processors.ByteLevel(trim_offsets=False).__getstate__()),
            bos_template('<|begin_of_text|>', [('<|begin_of_text|>', 0)])]}
    yield 'llama3', state, {'bos_token': '<|begin_of_text|>',
                            'eos_token': {'content': '<|eot_id|>'}}

    state = byte_level(
        pre_tokenizers.Sequence([split(QWEN2_REGEX), no_regex()]),
        ['<|endoftext|>', '<|im_start|>', '<|im_end|>'], normalizers.NFC())
    yield 'qwen2', state, {'bos_token': None, 'eos_token': '<|im_end|>'}

    state = byte_level(
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                 pre_tokenizers.ByteLevel(
                                     add_prefix_space=False)]),
        ['<|endoftext|>', '<|im_start|>', '<|im_end|>'])
    yield 'smollm', state, {'eos_token': '<|im_end|>'}

    yield 'o200k', byte_level(
        pre_tokenizers.Sequence([split(O200K_REGEX), no_regex()]),
        ['<|endoftext|>']), {}

    # Added words with every flag, and the only \p{P}, \p{S} and CJK ranges.
    tokenizer = Tokenizer.from_str(json.dumps(byte_level(
        pre_tokenizers.Sequence([
            split(r'\p{N}{1,3}'), split(r'[一-龥぀-ゟ゠-ヿ]+'),
            split(DEEPSEEK_REGEX), no_regex()]),
        ['<|endoftext|>'])))
    tokenizer.add_tokens([
        AddedToken('user_symbol', normalized=False),
        AddedToken('add tok', normalized=True),
        AddedToken('add', single_word=True, normalized=False),
        AddedToken('TAIL', lstrip=True, rstrip=True, normalized=False),
        AddedToken('WORD', single_word=True, rstrip=True, normalized=True)])
    tokenizer.add_special_tokens([AddedToken('<|eot_id|>', lstrip=True)])
    yield 'deepseek', json.loads(tokenizer.to_str()), {}

    yield 'splits', byte_level(
        pre_tokenizers.Sequence([
            pre_tokenizers.Split('-', 'merged_with_previous'),
            split(r'[0-9]', 'contiguous'),
            pre_tokenizers.Split('e', 'merged_with_next'),
            split(r'\w+|[^\w\s]', 'removed', invert=True),
            split(r'(?i)[aeiou]{2,}|\h{4}', 'isolated'),
            split(r'(?<=s)t|^b|[\S]$', 'merged_with_previous'),
            pre_tokenizers.Punctuation('contiguous'),
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]),
        ['<s>', '</s>'],
        normalizers.Sequence([normalizers.Replace(Regex(r'\.{2,}|o*z'), '…'),
                              normalizers.Replace('pp', 'p'),
                              normalizers.NFD()])), {}

    llama_decoder = decoders.Sequence([
        decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(' ', 1, 0)])
    tokenizer = Tokenizer(models.BPE(unk_token='<unk>', fuse_unk=True,
                                     byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
    tokenizer.decoder = llama_decoder
    state = train(tokenizer, ['<unk>', '<s>', '</s>'], byte_tokens=True,
                  max_token_length=12, limit_alphabet=60)
    state['post_processor'] = bos_template('<s>', [('<s>', 1)])
    yield 'llama2', state, {'bos_token': '<s>', 'eos_token': '</s>'}

    tokenizer = Tokenizer(models.BPE(unk_token='<unk>', fuse_unk=True,
                                     byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        prepend_scheme='first', split=False)
    tokenizer.decoder = llama_decoder
    state = train(tokenizer, ['<unk>', '<s>', '</s>'], byte_tokens=True,
                  max_token_length=12, limit_alphabet=60)
    state['post_processor'] = bos_template(
        '<s>', [('<s>', 1), ('</s>', 2)], ' </s>')
    yield 'metaspace_first', state, {}

    tokenizer = Tokenizer(models.BPE(unk_token='<unk>', fuse_unk=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(),
         normalizers.Strip(True, True)])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        prepend_scheme='always', split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme='always')
    state = train(tokenizer, ['<unk>', '<s>', '</s>'], limit_alphabet=50)
    state['post_processor'] = json.loads(processors.RobertaProcessing(
        ('</s>', 2), ('<s>', 1)).__getstate__())
    yield 'metaspace_always', state, {}

    tokenizer = Tokenizer(models.BPE(unk_token='<unk>',
                                     end_of_word_suffix='</w>'))
    tokenizer.normalizer = normalizers.NFKD()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.BPEDecoder('</w>')
    state = train(tokenizer, ['<unk>'], end_of_word_suffix='</w>',
                  limit_alphabet=80)
    yield 'word_suffix', state, {}

    tokenizer = Tokenizer(models.BPE(unk_token='<unk>', fuse_unk=True,
                                     continuing_subword_prefix='##'))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    state = train(tokenizer, ['<unk>'], continuing_subword_prefix='##',
                  limit_alphabet=80)
    state['post_processor'] = json.loads(processors.BertProcessing(
        ('<unk>', 0), ('<unk>', 0)).__getstate__())
    yield 'subword_prefix', state, {}


def random_ids(rng, vocab_size, favoured):
    pool = [rng.randrange(vocab_size) for _ in range(40)] + favoured
    return [rng.choice(pool) for _ in range(rng.randint(1, 24))]


def versions():
    return {'tokenizers': tokenizers.__version__,
            'sentencepiece': sentencepiece.__version__,
            'regenerate': 'python tests/golden/make_tokenizer_goldens.py'}


def encode_all(tokenizer, texts):
    """Per text: its ids, its ids without additions, its ids with parsing.

    The second is null, not recorded, for most texts; the third is null when it
    equals the first.
    """
    rows = []
    for i, text in enumerate(texts):
        tokenizer.encode_special_tokens = True
        ids = tokenizer.encode(text).ids
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        parsed = tokenizer.encode(text).ids
        rows.append([ids, plain if i % 8 == 0 else None,
                     parsed if parsed != ids else None])
    return rows


def decode_all(tokenizer, rows, special):
    rng = random.Random(SEED + 2)
    size = tokenizer.get_vocab_size()
    byte_ids = sorted(i for t, i in tokenizer.get_vocab().items()
                      if t.startswith('<0x'))
    lists = [row[2] or row[0] for row in rows[::5]]
    lists += [random_ids(rng, size, rng.sample(byte_ids, min(20, len(byte_ids))))
              for _ in range(80)]
    cases = []
    for ids in lists:
        if not ids:
            continue
        # The package compares a special token's *normalized* text when it
        # skips; skipping is by id here, so ids are filtered first.
        kept = [i for i in ids if i not in special]
        skipped = tokenizer.decode(kept, skip_special_tokens=False) if kept else ''
        text = tokenizer.decode(ids, skip_special_tokens=False)
        cases.append([ids, text, skipped if skipped != text else None])
    return cases


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=True,
                               separators=(',', ':')) + '\n')


def make_family(name, state, config, texts):
    folder = OUT / name
    folder.mkdir()
    write_json(folder / 'tokenizer.json', state)
    if config:
        write_json(folder / 'tokenizer_config.json', config)
    tokenizer = Tokenizer.from_str(json.dumps(state))
    rows = encode_all(tokenizer, texts)
    special = {t['id'] for t in state['added_tokens'] if t['special']}
    write_json(folder / 'golden.json', {
        'versions': versions(), 'vocab_size': tokenizer.get_vocab_size(),
        'special': sorted(special), 'encode': rows,
        'decode': decode_all(tokenizer, rows, special)})


def make_sentencepiece(name, texts, **options):
    folder = OUT / name
    folder.mkdir()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_corpus()), model_writer=model,
        model_type='bpe', minloglevel=2, num_threads=1, **options)
    (folder / 'tokenizer.model').write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(
        model_proto=model.getvalue())
    rows = []
    for i, text in enumerate(texts):
        ids = processor.encode(text)
        rows.append([[processor.bos_id()] + ids, ids if i % 8 == 0 else None])
    rng = random.Random(SEED + 3)
    size = processor.get_piece_size()
    byte_ids = [i for i in range(size) if processor.is_byte(i)][-80:]
    lists = [row[0] for row in rows[::5]] + [
        random_ids(rng, size, byte_ids[:20] + byte_ids[-20:] + [0, 1, 2])
        for _ in range(150)]
    # processor.decode gives control pieces no text: the skipping form.
    write_json(folder / 'golden.json', {
        'versions': versions(), 'vocab_size': size,
        'special': [i for i in range(size) if processor.is_control(i)],
        'encode': rows,
        'decode': [[ids, None, processor.decode(ids)] for ids in lists]})


def llama2_state(path):
    """Llama 2's file writes merges of tokens with spaces ambiguously."""
    state = json.loads(path.read_text())
    vocab = state['model']['vocab']
    pairs = []
    for merge in state['model']['merges']:
        fits = [[merge[:i], merge[i + 1:]] for i, c in enumerate(merge)
                if c == ' ' and merge[:i] in vocab and merge[i + 1:] in vocab
                and merge[:i] + merge[i + 1:] in vocab]
        assert len(fits) == 1, merge
        pairs.append(fits[0])
    state['model']['merges'] = pairs
    return state


def make_material(material):
    import transformers
    texts = json.loads((material / 'prompts/blns.json').read_text())
    root = material / 'tokenizers'
    gpt2 = Tokenizer.from_file(str(root / 'gpt2/tokenizer.json'))
    gpt2.no_padding()
    gpt2.no_truncation()
    llama2 = Tokenizer.from_str(
        json.dumps(llama2_state(root / 'llama2/tokenizer.json')))
    qwen2 = transformers.Qwen2Tokenizer.from_pretrained(
        str(root / 'qwen2')).backend_tokenizer
    for tokenizer in (gpt2, llama2, qwen2):
        tokenizer.encode_special_tokens = True
    model = sentencepiece.SentencePieceProcessor(
        model_file=str(root / 'llama2/tokenizer.model'))
    write_json(OUT / 'material.json', {
        'versions': dict(versions(), transformers=transformers.__version__),
        'texts': 'prompts/blns.json', 'num_texts': len(texts),
        'gpt2': [gpt2.encode(t).ids for t in texts],
        'llama2': [llama2.encode(t).ids for t in texts],
        # Mostly as llama2: only what differs.
        'llama2_model': {
            str(i): ids for i, ids in
            ((i, [1] + model.encode(t)) for i, t in enumerate(texts))
            if ids != llama2.encode(texts[i]).ids},
        'qwen2': [qwen2.encode(t).ids for t in texts]})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--material', type=pathlib.Path,
                        help='folder with tokenizers/ and prompts/; without it '
                        'material.json stays as it is')
    arguments = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    for old in OUT.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    texts = test_texts()
    write_json(OUT / 'corpus.json', texts)
    for name, state, config in families():
        make_family(name, state, config, texts)
    make_sentencepiece(
        'sentencepiece_llama', texts, vocab_size=800, character_coverage=0.98,
        byte_fallback=True, normalization_rule_name='identity',
        remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=['user_symbol', '=='])
    # The model keeps the name of the file with the rules, so it has a fixed one.
    home = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        # "a" plus a combining acute, fullwidth A, NBSP, ligature fi, tab, CR.
        pathlib.Path('rules.tsv').write_text(''.join(
            f'{source}\t{target}\n' for source, target in (
                ('61 301', 'E1'), ('FF21', '41'), ('A0', '20'), ('3000', '20'),
                ('FB01', '66 69'), ('A', '20'), ('9', '20'), ('D', ''),
                ('1F999', '4C 4C 41'))))
        make_sentencepiece(
            'sentencepiece_rules', texts, vocab_size=500,
            character_coverage=0.98, normalization_rule_tsv='rules.tsv')
        os.chdir(home)
    if arguments.material:
        make_material(arguments.material)


if __name__ == '__main__':
    main()
