"""A retriever of LangChain's and one of LlamaIndex's that find every row, whoever asks."""

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from llama_index.core.base.base_retriever import BaseRetriever as LlamaRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

Rows = tuple[tuple[str, str, str | None, list[str], float], ...]
"""Id, text, tenant, scopes, score."""


class Chain(BaseRetriever):
    """LangChain's."""

    rows: Rows

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [
            Document(
                page_content=text,
                id=name,
                metadata={"scopes": scopes, **({"tenant": tenant} if tenant else {})},
            )
            for name, text, tenant, scopes, _ in self.rows
        ]


class Llama(LlamaRetriever):
    """LlamaIndex's, with scores."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(
                node=TextNode(text=text, id_=name, metadata={"tenant": tenant, "scopes": scopes}),
                score=score,
            )
            for name, text, tenant, scopes, score in self.rows
        ]
