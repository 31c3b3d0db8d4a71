"""The official Python clients, unmodified, against the server whose address is the first argument: they complete, stream
and read errors. The server's engine is scripted (python_clients_test.ts): a prompt that begins with "full" finds the
queue full, one that begins with "lost" loses the device after a token, one with "bug" meets a bug."""

import asyncio
import sys
import unittest
import warnings

import openai
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import OverloadedError, UnknownError, ValidationError, HfHubHTTPError

URL = sys.argv.pop(1)
MODEL = "fake/model-1"
TEXT = "aé𝕏漢"


def openai_client(key="good-key"):
    return openai.OpenAI(base_url=f"{URL}/v1", api_key=key, max_retries=0)


def hf_client(key="good-key"):
    return InferenceClient(URL, provider="hf-inference", token=key)


class OpenAi(unittest.TestCase):
    def create(self, prompt="def f(", **fields):
        return openai_client().completions.create(model=MODEL, prompt=prompt, **fields)

    def test_fills_in_the_middle(self):
        reply = self.create(suffix="\n", max_tokens=8, stop="\n\n", extra_body={"clean": True})
        self.assertEqual([choice.text for choice in reply.choices], [TEXT])
        self.assertEqual(reply.choices[0].finish_reason, "stop")
        self.assertEqual((reply.usage.prompt_tokens, reply.usage.completion_tokens), (7, 4))

    def test_reads_logprobs_samples_and_echo(self):
        reply = self.create(prompt=["x", "y"], n=2, logprobs=1, echo=True)
        self.assertEqual([choice.index for choice in reply.choices], [0, 1, 2, 3])
        logprobs = reply.choices[0].logprobs
        self.assertEqual(logprobs.tokens, ["x", *TEXT])
        self.assertIsNone(logprobs.token_logprobs[0])
        self.assertEqual(logprobs.text_offset, [0, 1, 2, 3, 4])

    def test_chooses_the_best(self):
        self.assertEqual(len(self.create(n=1, best_of=3).choices), 1)

    def test_streams_with_usage(self):
        texts, usage = [], None
        for chunk in self.create(stream=True, stream_options={"include_usage": True}):
            texts += [choice.text for choice in chunk.choices]
            usage = chunk.usage
        self.assertEqual(texts, [*TEXT, ""])
        self.assertEqual(usage.total_tokens, 10)

    def test_leaves_a_stream(self):
        with self.create(prompt="long", stream=True, max_tokens=100_000) as stream:
            self.assertEqual(next(iter(stream)).choices[0].text, "a")

    def test_streams_asynchronously(self):
        async def texts():
            async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="good-key") as client:
                stream = await client.completions.create(model=MODEL, prompt="x", stream=True)
                return "".join([chunk.choices[0].text async for chunk in stream])

        self.assertEqual(asyncio.run(texts()), TEXT)

    def test_reads_errors(self):
        with self.assertRaises(openai.BadRequestError) as wrong:
            self.create(temperature=3)
        self.assertEqual(wrong.exception.param, "temperature")
        self.assertIn("must be at most 2, received 3", wrong.exception.message)
        with self.assertRaises(openai.AuthenticationError) as stranger:
            openai_client("wrong").completions.create(model=MODEL, prompt="x")
        self.assertEqual(stranger.exception.code, "invalid_api_key")
        with self.assertRaises(openai.NotFoundError) as unknown:
            openai_client().completions.create(model="gpt-5", prompt="x")
        self.assertEqual(unknown.exception.code, "model_not_found")
        with self.assertRaises(openai.RateLimitError) as full:
            self.create(prompt="full")
        self.assertEqual(full.exception.response.headers["retry-after"], "7")
        with self.assertRaises(openai.InternalServerError):
            self.create(prompt="bug")

    def test_reads_an_error_in_the_middle_of_a_stream(self):
        texts = []
        with self.assertRaises(openai.APIError) as lost:
            for chunk in self.create(prompt="lost", stream=True):
                texts.append(chunk.choices[0].text)
        self.assertEqual(texts, ["a"])
        self.assertIn("The device was lost", lost.exception.message)

    def test_lists_models(self):
        client = openai_client()
        self.assertEqual([model.id for model in client.models.list()], [MODEL])
        self.assertEqual(client.models.retrieve(MODEL).object, "model")


class HuggingFace(unittest.TestCase):
    def test_continues_a_text(self):
        self.assertEqual(hf_client().text_generation("def f(", max_new_tokens=8, temperature=0.2, stop=["\n"]), TEXT)
        self.assertEqual(hf_client().text_generation("x", return_full_text=True), "x" + TEXT)

    def test_reads_details(self):
        reply = hf_client().text_generation("xy", details=True, decoder_input_details=True, top_n_tokens=1)
        self.assertEqual((reply.generated_text, reply.details.finish_reason), (TEXT, "eos_token"))
        self.assertEqual([token.text for token in reply.details.tokens], [*TEXT])
        self.assertEqual([token.text for token in reply.details.prefill], ["x", "y"])
        self.assertEqual(len(reply.details.top_tokens), 4)

    def test_chooses_the_best(self):
        reply = hf_client().text_generation("x", details=True, best_of=3, do_sample=True)
        self.assertEqual(len(reply.details.best_of_sequences), 2)

    def test_streams(self):
        # The client that streams has to be kept: it closes its connection with itself.
        with hf_client() as client:
            self.assertEqual(list(client.text_generation("x", stream=True)), [*TEXT])
            events = list(client.text_generation("x", stream=True, details=True))
        self.assertEqual([event.token.text for event in events], [*TEXT])
        self.assertEqual([event.index for event in events], [1, 2, 3, 4])
        self.assertEqual((events[-1].generated_text, events[-1].details.generated_tokens), (TEXT, 4))

    def test_streams_asynchronously(self):
        async def texts():
            async with AsyncInferenceClient(URL, token="good-key") as client:
                return [text async for text in await client.text_generation("x", stream=True)]

        self.assertEqual(asyncio.run(texts()), [*TEXT])

    def test_reads_errors(self):
        with self.assertRaisesRegex(ValidationError, '"parameters.temperature" must be more than 0'):
            hf_client().text_generation("x", temperature=-1.0)
        with self.assertRaisesRegex(ValidationError, '"inputs" must not be empty'):
            hf_client().text_generation("")
        with self.assertRaisesRegex(OverloadedError, "The queue is full"):
            hf_client().text_generation("full")
        with self.assertRaises(HfHubHTTPError) as stranger:
            hf_client("wrong").text_generation("x")
        self.assertEqual(stranger.exception.response.status_code, 401)

    def test_reads_an_error_in_the_middle_of_a_stream(self):
        texts = []
        with hf_client() as client, self.assertRaisesRegex(UnknownError, "The device was lost"):
            for text in client.text_generation("lost", stream=True):
                texts.append(text)
        self.assertEqual(texts, ["a"])

    def test_asks_what_is_served(self):
        info = hf_client().get_endpoint_info()
        self.assertEqual((info["model_id"], info["max_input_length"]), (MODEL, 2047))
        self.assertTrue(hf_client().health_check())


if __name__ == "__main__":
    warnings.simplefilter("ignore", ResourceWarning)
    unittest.main(verbosity=2)
